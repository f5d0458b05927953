/* CANN's own log, the plog, of the emulated runtime: what went wrong, a line each. Part of acl.c. */
#include <sys/stat.h>
#include <sys/syscall.h>

/* A line of the plog, as CANN writes it (hicann/runtime, docs/zh/log_ref/viewing_logs_ep.md):
 * debug/plog/plog-<pid>_<time of its making>.log under ASCEND_PROCESS_LOG_PATH. */
EXPORT void npu_emulator_plog(const char *module, const char *text) {
    static char path[4096];
    const char *folder = getenv("ASCEND_PROCESS_LOG_PATH");
    if (!folder || !*folder) return;
    struct timespec now;
    struct tm local;
    char date[32];
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    pthread_mutex_lock(&lock);
    char pid[16];
    snprintf(pid, sizeof pid, "plog-%d_", getpid());
    if (!strstr(path, pid)) { /* first line of this process, which may be a fork */
        char part[4096];
        static const char *const folders[] = {"", "/debug", "/debug/plog"};
        for (int i = 0; i < 3; i++) snprintf(part, sizeof part, "%s%s", folder, folders[i]), mkdir(part, 0750);
        strftime(date, sizeof date, "%Y%m%d%H%M%S", &local);
        snprintf(path, sizeof path, "%.4000s/debug/plog/%s%s%03ld.log", folder, pid, date, now.tv_nsec / 1000000);
    }
    FILE *file = fopen(path, "a");
    if (file) {
        strftime(date, sizeof date, "%Y-%m-%d-%H:%M:%S", &local);
        fprintf(file, "[ERROR] %s(%d,python):%s.%03ld.%03ld [acl.c:1]%ld %s\n", module, getpid(), date,
                now.tv_nsec / 1000000, now.tv_nsec / 1000 % 1000, syscall(SYS_gettid), text);
        fclose(file);
    }
    pthread_mutex_unlock(&lock);
}
