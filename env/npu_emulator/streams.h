/* Streams, events and the operator compiler of the emulated runtime: nothing of it has to wait. Part of acl.c. */

/* ---- streams and events ---- */

struct handle {
    int32_t id;
    double milliseconds;
};

static aclError create(void **handle) {
    static atomic_int last;
    struct handle *made = calloc(1, sizeof *made);
    if (!made) return ACL_ERROR_RT_RESOURCE_ALLOC_FAIL;
    made->id = ++last;
    *handle = made;
    return ACL_SUCCESS;
}

aclError aclrtCreateStream(aclrtStream *stream) { ENTER; return create(stream); }
aclError aclrtCreateStreamWithConfig(aclrtStream *stream, uint32_t priority, uint32_t flag) { ENTER; return create(stream); }
aclError aclrtDestroyStream(aclrtStream stream) { free(stream); return ACL_SUCCESS; }
aclError aclrtDestroyStreamForce(aclrtStream stream) { free(stream); return ACL_SUCCESS; }
aclError aclrtSynchronizeStream(aclrtStream stream) { ENTER; return ACL_SUCCESS; }
aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t timeout) { ENTER; return ACL_SUCCESS; }
aclError aclrtSetStreamFailureMode(aclrtStream stream, uint64_t mode) { ENTER; return ACL_SUCCESS; }
aclError aclrtSetStreamOverflowSwitch(aclrtStream stream, uint32_t flag) { ENTER; return ACL_SUCCESS; }
aclError aclrtSetStreamAttribute(aclrtStream stream, aclrtStreamAttr attribute, aclrtStreamAttrValue *value) { ENTER; return ACL_SUCCESS; }
aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event) { ENTER; return ACL_SUCCESS; }
aclError aclrtStreamQuery(aclrtStream stream, aclrtStreamStatus *status) { ENTER; *status = ACL_STREAM_STATUS_COMPLETE; return ACL_SUCCESS; }

EXPORT aclError aclrtStreamGetId(aclrtStream stream, int32_t *id) {
    ENTER;
    *id = stream ? ((struct handle *)stream)->id : 0;
    return ACL_SUCCESS;
}

aclError aclrtCreateEvent(aclrtEvent *event) { ENTER; return create(event); }
aclError aclrtCreateEventWithFlag(aclrtEvent *event, uint32_t flag) { ENTER; return create(event); }
aclError aclrtCreateEventExWithFlag(aclrtEvent *event, uint32_t flag) { ENTER; return create(event); }
aclError aclrtDestroyEvent(aclrtEvent event) { free(event); return ACL_SUCCESS; }
aclError aclrtResetEvent(aclrtEvent event, aclrtStream stream) { ENTER; return ACL_SUCCESS; }
aclError aclrtSynchronizeEvent(aclrtEvent event) { ENTER; return ACL_SUCCESS; }
aclError aclrtQueryEventStatus(aclrtEvent event, aclrtEventRecordedStatus *status) { ENTER; *status = ACL_EVENT_RECORDED_STATUS_COMPLETE; return ACL_SUCCESS; }
aclError aclrtQueryEventWaitStatus(aclrtEvent event, aclrtEventWaitStatus *status) { ENTER; *status = ACL_EVENT_WAIT_STATUS_COMPLETE; return ACL_SUCCESS; }

aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream) {
    ENTER;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ((struct handle *)event)->milliseconds = (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
    return ACL_SUCCESS;
}

aclError aclrtEventElapsedTime(float *milliseconds, aclrtEvent start, aclrtEvent end) {
    ENTER;
    *milliseconds = (float)(((struct handle *)end)->milliseconds - ((struct handle *)start)->milliseconds);
    return ACL_SUCCESS;
}

aclError aclrtSubscribeReport(uint64_t thread, aclrtStream stream) { ENTER; return ACL_SUCCESS; }
aclError aclrtUnSubscribeReport(uint64_t thread, aclrtStream stream) { return ACL_SUCCESS; }

/* No callback is ever queued; returning at once would make torch-npu's report thread spin. */
aclError aclrtProcessReport(int32_t timeout) {
    ENTER;
    usleep(timeout > 0 ? (useconds_t)timeout * 1000 : 1000);
    return ACL_ERROR_RT_REPORT_TIMEOUT;
}

/* ---- operator compiler: the one option that torch-npu reads back ---- */

/* Operators are compiled for each shape on Atlas training and inference products, until that is switched off
 * (op-plugin, docs/zh/custom_APIs, set_compile_mode). */
static char just_in_time[16];

static const char *jit_compile(void) {
    if (!*just_in_time) strcpy(just_in_time, setting("NPU_EMU_JIT", 0) ? "enable" : "disable");
    return just_in_time;
}

aclError aclSetCompileopt(aclCompileOpt option, const char *value) {
    ENTER;
    if (option == ACL_OP_JIT_COMPILE) snprintf(just_in_time, sizeof just_in_time, "%s", value);
    return ACL_SUCCESS;
}

size_t aclGetCompileoptSize(aclCompileOpt option) { return strlen(jit_compile()) + 1; }

aclError aclGetCompileopt(aclCompileOpt option, char *value, size_t length) {
    ENTER;
    snprintf(value, length, "%s", jit_compile());
    return ACL_SUCCESS;
}
