/* An Ascend Computing Language (ACL) runtime over host memory, for the calls that torch-npu makes to start up,
 * allocate, copy and synchronise. Kernels are not here: kernels.py runs them on views of the same bytes.
 *
 * Compiled against the ACL headers inside the installed torch-npu wheel, so the compiler checks every signature.
 * Everything is synchronous: a stream or an event has nothing to wait for.
 *
 * Environment: NPU_EMU_COUNT (devices, 1), NPU_EMU_SOC (Ascend910B4), NPU_EMU_HBM (bytes per device, 64 GiB),
 * NPU_EMU_TAKEN (bytes of it that others hold, 0), NPU_EMU_AI_CORES, NPU_EMU_VECTOR_CORES, NPU_EMU_L2_MB (0: not known),
 * NPU_EMU_SATURATES=1 (no infinity), NPU_EMU_JIT=1 (operators are compiled on first use), NPU_EMU_CANN (8.5.0), NPU_EMU_TRACE=1 (one line per call on stderr). What goes
 * wrong is written to CANN's own log, the plog, under ASCEND_PROCESS_LOG_PATH; where that is not set there is none.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "acl/acl.h"
#include "acl/acl_op_compiler.h"
#include "acl/error_codes/rt_error_codes.h"

#define EXPORT __attribute__((visibility("default")))
enum { MAX_DEVICES = 64, MAX_FAULTS = 64, ALIGNMENT = 512, BLOCK_MAGIC = 0x4E50 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int current_device = -1;
static __thread char error_text[256];

static long setting(const char *name, long fallback) {
    const char *text = getenv(name);
    return text && *text ? strtol(text, NULL, 0) : fallback;
}

static int device_count(void) {
    long count = setting("NPU_EMU_COUNT", 1);
    return count < 0 ? 0 : count > MAX_DEVICES ? MAX_DEVICES : (int)count;
}

static uint64_t memory_total(void) { return (uint64_t)setting("NPU_EMU_HBM", 64L << 30); }

/* What is left of it for this process: the firmware, the driver and other processes hold the rest. */
static uint64_t memory_limit(void) {
    uint64_t taken = (uint64_t)setting("NPU_EMU_TAKEN", 0);
    return taken < memory_total() ? memory_total() - taken : 0;
}

#include "plog.h"

static aclError fail(aclError code, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(error_text, sizeof error_text, format, values);
    va_end(values);
    char line[400];
    snprintf(line, sizeof line, "%s, retCode=%d", error_text, code);
    npu_emulator_plog("RUNTIME", line);
    return code;
}

/* ---- what tells an emulated process from a real one, and how faults come in ---- */

EXPORT const char *npu_emulator_version(void) { return "1"; }

struct fault {
    char call[64]; /* "*" is any call */
    long nth;      /* the first call that fails, from 1; 0: every call */
    long times;    /* how many calls fail from there on; 0: all of them */
    aclError code; /* negative: the call never returns */
    long seen;
};
static struct fault faults[MAX_FAULTS];
static atomic_int fault_count;
static atomic_int lost_code; /* once set, the device never answers again */

/* Make calls fail. Returns 0, or -1 where the table is full. */
EXPORT int npu_emulator_fault(const char *call, long nth, long times, int code) {
    pthread_mutex_lock(&lock);
    int at = fault_count;
    if (at < MAX_FAULTS) {
        struct fault *fault = &faults[at];
        snprintf(fault->call, sizeof fault->call, "%s", call);
        fault->nth = nth, fault->times = times, fault->code = code, fault->seen = 0;
        fault_count = at + 1;
    }
    pthread_mutex_unlock(&lock);
    return at < MAX_FAULTS ? 0 : -1;
}

/* Lose the device for the rest of the process: every later call returns `code`. */
EXPORT void npu_emulator_lose_device(int code) { lost_code = code; }
EXPORT int npu_emulator_device_lost(void) { return lost_code; }

static aclError enter(const char *call) {
    static int trace = -1;
    if (trace < 0) trace = (int)setting("NPU_EMU_TRACE", 0);
    if (trace) fprintf(stderr, "[npu emulator] %s\n", call);
    if (lost_code) return fail(lost_code, "EL0001: device lost: no heartbeat in %s", call);
    aclError result = ACL_SUCCESS;
    for (int i = 0, n = fault_count; i < n; i++) {
        struct fault *fault = &faults[i];
        if (strcmp(fault->call, "*") && strcmp(fault->call, call)) continue;
        pthread_mutex_lock(&lock);
        long seen = ++fault->seen;
        pthread_mutex_unlock(&lock);
        if (seen < fault->nth || (fault->times && seen >= (fault->nth ? fault->nth : 1) + fault->times)) continue;
        if (fault->code < 0) for (;;) sleep(1000);
        result = fail(fault->code, "EZ9999: injected fault in %s, call %ld", call, seen);
    }
    return result;
}

#define ENTER                                 \
    do {                                      \
        aclError injected = enter(__func__);  \
        if (injected) return injected;        \
    } while (0)

/* ---- process ---- */

aclError aclInit(const char *config) { ENTER; return ACL_SUCCESS; }
aclError aclFinalize() { return ACL_SUCCESS; }
aclError aclmdlInitDump() { ENTER; return ACL_SUCCESS; }
aclError aclmdlSetDump(const char *path) { ENTER; return ACL_SUCCESS; }
aclError aclmdlFinalizeDump() { return ACL_SUCCESS; }

void aclAppLog(aclLogLevel level, const char *function, const char *file, uint32_t line, const char *format, ...) {
    if (level != ACL_ERROR) return;
    char text[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    npu_emulator_plog("APP", text);
}

const char *aclGetRecentErrMsg() { return error_text[0] ? error_text : NULL; }

/* torch-npu asks for features by the version of the CANN packages and of the driver. */
aclError aclsysGetCANNVersion(aclCANNPackageName name, aclCANNPackageVersion *version) {
    ENTER;
    const char *cann = getenv("NPU_EMU_CANN");
    memset(version, 0, sizeof *version);
    snprintf(version->version, sizeof version->version, "%s",
             name == ACL_PKG_NAME_DRIVER ? "25.5.0" : cann && *cann ? cann : "8.5.0");
    return ACL_SUCCESS;
}

aclError aclGetCannAttribute(aclCannAttr attribute, int32_t *value) {
    ENTER;
    *value = !(attribute == ACL_CANN_ATTR_INF_NAN && setting("NPU_EMU_SATURATES", 0));
    return ACL_SUCCESS;
}

/* ---- devices and contexts: a context is the address of its device's slot ---- */

static int contexts[MAX_DEVICES];

aclError aclrtGetDeviceCount(uint32_t *count) {
    ENTER;
    *count = (uint32_t)device_count();
    return *count ? ACL_SUCCESS : fail(ACL_ERROR_RT_DEV_SETUP_ERROR, "EL0003: no device was set up");
}

aclError aclrtSetDevice(int32_t device) {
    ENTER;
    if (device < 0 || device >= device_count())
        return fail(ACL_ERROR_RT_INVALID_DEVICEID, "EE1001: device id %d is out of range [0, %d)", device, device_count());
    current_device = device;
    return ACL_SUCCESS;
}

aclError aclrtGetDevice(int32_t *device) {
    ENTER;
    if (current_device < 0) return ACL_ERROR_RT_CONTEXT_NULL;
    *device = current_device;
    return ACL_SUCCESS;
}

aclError aclrtResetDevice(int32_t device) { return ACL_SUCCESS; }

aclError aclrtGetCurrentContext(aclrtContext *context) {
    ENTER;
    if (current_device < 0) return ACL_ERROR_RT_CONTEXT_NULL;
    *context = &contexts[current_device];
    return ACL_SUCCESS;
}

aclError aclrtSetCurrentContext(aclrtContext context) {
    ENTER;
    current_device = (int)((int *)context - contexts);
    return ACL_SUCCESS;
}

const char *aclrtGetSocName() {
    const char *soc = getenv("NPU_EMU_SOC");
    return soc && *soc ? soc : "Ascend910B4";
}

aclError aclGetDeviceCapability(uint32_t device, aclDeviceInfo info, int64_t *value) {
    ENTER;
    *value = info == ACL_DEVICE_INFO_AI_CORE_NUM ? setting("NPU_EMU_AI_CORES", 0)
             : info == ACL_DEVICE_INFO_VECTOR_CORE_NUM ? setting("NPU_EMU_VECTOR_CORES", 0)
             : info == ACL_DEVICE_INFO_L2_SIZE ? setting("NPU_EMU_L2_MB", 0) << 20 : 0;
    return ACL_SUCCESS;
}

EXPORT aclError aclrtDeviceGetUuid(int32_t device, aclrtUuid *uuid) {
    ENTER;
    memset(uuid, 0, sizeof *uuid);
    snprintf(uuid->bytes, sizeof uuid->bytes, "emulated-%02d", device);
    return ACL_SUCCESS;
}

aclError aclrtGetDeviceUtilizationRate(int32_t device, aclrtUtilizationInfo *info) {
    ENTER;
    memset(info, 0, sizeof *info);
    return ACL_SUCCESS;
}

aclError aclrtDeviceCanAccessPeer(int32_t *can, int32_t device, int32_t peer) { ENTER; *can = 1; return ACL_SUCCESS; }
aclError aclrtDeviceEnablePeerAccess(int32_t peer, uint32_t flags) { ENTER; return ACL_SUCCESS; }
aclError aclrtSynchronizeDevice(void) { ENTER; return ACL_SUCCESS; }
EXPORT aclError aclrtSynchronizeDeviceWithTimeout(int32_t timeout) { ENTER; return ACL_SUCCESS; }
aclError aclrtDeviceTaskAbort(int32_t device, uint32_t timeout) { ENTER; return ACL_SUCCESS; }
aclError aclrtSetDeviceSatMode(aclrtFloatOverflowMode mode) { ENTER; return ACL_SUCCESS; }
aclError aclrtSetOpExecuteTimeOut(uint32_t timeout) { ENTER; return ACL_SUCCESS; }
aclError aclrtSetOpExecuteTimeOutV2(uint64_t timeout, uint64_t *actual) { ENTER; *actual = timeout; return ACL_SUCCESS; }
aclError aclrtSetOpWaitTimeout(uint32_t timeout) { ENTER; return ACL_SUCCESS; }
aclError aclrtCtxSetSysParamOpt(aclSysParamOpt option, int64_t value) { ENTER; return ACL_SUCCESS; }
aclError aclrtSetSysParamOpt(aclSysParamOpt option, int64_t value) { ENTER; return ACL_SUCCESS; }
aclError aclrtPeekAtLastError(aclrtLastErrLevel level) { return lost_code; }
aclError aclrtGetLastError(aclrtLastErrLevel level) { return lost_code; }

/* ---- memory: host memory behind a header, accounted and limited per device and process ---- */

static uint64_t used[MAX_DEVICES], peak[MAX_DEVICES];

struct block {
    uint64_t bytes;
    int device, magic;
};

EXPORT uint64_t npu_emulator_used(int device) { return used[device]; }
EXPORT uint64_t npu_emulator_peak(int device) { return peak[device]; }

static aclError allocate(void **pointer, size_t bytes) {
    int device = current_device < 0 ? 0 : current_device;
    pthread_mutex_lock(&lock);
    int fits = used[device] + bytes <= memory_limit();
    if (fits) {
        used[device] += bytes;
        if (used[device] > peak[device]) peak[device] = used[device];
    }
    pthread_mutex_unlock(&lock);
    /* CANN's own words (hicann/runtime, src/dfx/error_manager/error_code.json, EL0004). */
    if (!fits)
        return fail(ACL_ERROR_RT_MEMORY_ALLOCATION,
                    "EL0004: [PID: %d] Failed to allocate memory requested by RUNTIME module.\n"
                    "        Possible Cause: Available memory is insufficient.\n"
                    "        Solution: Close applications not in use.", getpid());
    /* The header takes a whole alignment unit, so that the pointer behind it keeps the alignment CANN promises. */
    void *base;
    if (posix_memalign(&base, ALIGNMENT, bytes + ALIGNMENT)) {
        pthread_mutex_lock(&lock);
        used[device] -= bytes;
        pthread_mutex_unlock(&lock);
        return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "EL0004: the host has no %zu bytes for device %d", bytes, device);
    }
    *(struct block *)base = (struct block){bytes, device, BLOCK_MAGIC};
    *pointer = (char *)base + ALIGNMENT;
    return ACL_SUCCESS;
}

aclError aclrtMalloc(void **pointer, size_t bytes, aclrtMemMallocPolicy policy) { ENTER; return allocate(pointer, bytes); }
aclError aclrtMallocAlign32(void **pointer, size_t bytes, aclrtMemMallocPolicy policy) { ENTER; return allocate(pointer, bytes); }

aclError aclrtFree(void *pointer) {
    ENTER;
    if (!pointer) return ACL_ERROR_RT_PARAM_INVALID;
    struct block *block = (struct block *)((char *)pointer - ALIGNMENT);
    if (block->magic != BLOCK_MAGIC) return fail(ACL_ERROR_RT_PARAM_INVALID, "EE1001: %p was not allocated here", pointer);
    block->magic = 0;
    pthread_mutex_lock(&lock);
    used[block->device] -= block->bytes;
    pthread_mutex_unlock(&lock);
    free(block);
    return ACL_SUCCESS;
}

static aclError allocate_host(void **pointer, size_t bytes) {
    return posix_memalign(pointer, ALIGNMENT, bytes ? bytes : ALIGNMENT) ? ACL_ERROR_RT_MEMORY_ALLOCATION : ACL_SUCCESS;
}

aclError aclrtMallocHost(void **pointer, size_t bytes) { ENTER; return allocate_host(pointer, bytes); }
aclError aclrtMallocHostWithCfg(void **pointer, uint64_t bytes, aclrtMallocConfig *config) { ENTER; return allocate_host(pointer, bytes); }
aclError aclrtFreeHost(void *pointer) { free(pointer); return ACL_SUCCESS; }

aclError aclrtGetMemInfo(aclrtMemAttr attribute, size_t *available, size_t *total) {
    ENTER;
    *total = memory_total();
    *available = memory_limit() - used[current_device < 0 ? 0 : current_device];
    return ACL_SUCCESS;
}

static aclError copy(void *to, size_t room, const void *from, size_t bytes) {
    if (bytes > room) return fail(ACL_ERROR_RT_PARAM_INVALID, "EE1001: %zu bytes do not fit in %zu", bytes, room);
    memmove(to, from, bytes);
    return ACL_SUCCESS;
}

aclError aclrtMemcpy(void *to, size_t room, const void *from, size_t bytes, aclrtMemcpyKind kind) {
    ENTER;
    return copy(to, room, from, bytes);
}

aclError aclrtMemcpyAsync(void *to, size_t room, const void *from, size_t bytes, aclrtMemcpyKind kind, aclrtStream stream) {
    ENTER;
    return copy(to, room, from, bytes);
}

aclError aclrtMemcpyAsyncWithCondition(void *to, size_t room, const void *from, size_t bytes, aclrtMemcpyKind kind,
                                       aclrtStream stream) {
    ENTER;
    return copy(to, room, from, bytes);
}

aclError aclrtMemset(void *pointer, size_t room, int32_t value, size_t bytes) {
    ENTER;
    memset(pointer, value, bytes);
    return ACL_SUCCESS;
}

aclError aclrtMemsetAsync(void *pointer, size_t room, int32_t value, size_t bytes, aclrtStream stream) {
    ENTER;
    memset(pointer, value, bytes);
    return ACL_SUCCESS;
}

#include "streams.h"
#include "stress.h"
