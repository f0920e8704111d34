#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "CShoalSystem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__linux__)

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

// The number after `key` in a file of "key number" or "key: number kB" lines; -1 when it is not there.
static int64_t number_in_file(const char *path, const char *key) {
    FILE *file = fopen(path, "re");
    if (file == NULL) return -1;
    char line[256];
    int64_t value = -1;
    size_t length = strlen(key);
    while (value < 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, length) != 0 || (line[length] != ' ' && line[length] != ':')) continue;
        long long number;
        if (sscanf(line + length + 1, "%lld", &number) == 1 && number >= 0) value = number;
    }
    fclose(file);
    return value;
}

// The only number in a file; -1 for "max" and for a file that is not there.
static int64_t lone_number(const char *path) {
    FILE *file = fopen(path, "re");
    if (file == NULL) return -1;
    long long number = -1;
    if (fscanf(file, "%lld", &number) != 1) number = -1;
    fclose(file);
    return number;
}

// The folder of this process's control group (version 2), or an empty string.
static void control_group_folder(char *folder, size_t size) {
    folder[0] = 0;
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL) return;
    char line[512];
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "0::", 3) != 0) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(folder, size, "/sys/fs/cgroup%s", line + 3);
    }
    fclose(file);
}

static int64_t control_group_number(const char *name) {
    char folder[600], path[700];
    control_group_folder(folder, sizeof folder);
    if (folder[0] == 0) return -1;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int64_t value = lone_number(path);
    if (value >= 0) return value;
    // Inside a container the group's own folder is mounted at the root.
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s", name);
    return lone_number(path);
}

static int64_t bytes_of_meminfo(const char *key) {
    int64_t kibibytes = number_in_file("/proc/meminfo", key);
    return kibibytes < 0 ? -1 : kibibytes * 1024;
}

int64_t shoal_memory_total_bytes(void) {
    int64_t machine = bytes_of_meminfo("MemTotal");
    int64_t group = control_group_number("memory.max");
    return group >= 0 && (machine < 0 || group < machine) ? group : machine;
}

// Page cache of model files counts as used in the group, though the kernel gives it back when asked.
static int64_t reclaimable_in_group(void) {
    char folder[600], path[700];
    control_group_folder(folder, sizeof folder);
    if (folder[0] == 0) return 0;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    int64_t value = number_in_file(path, "inactive_file");
    if (value < 0) value = number_in_file("/sys/fs/cgroup/memory.stat", "inactive_file");
    return value < 0 ? 0 : value;
}

int64_t shoal_memory_available_bytes(void) {
    int64_t machine = bytes_of_meminfo("MemAvailable");
    int64_t limit = control_group_number("memory.max");
    int64_t used = control_group_number("memory.current");
    if (limit < 0 || used < 0) return machine;
    int64_t rest = limit - used + reclaimable_in_group();
    if (rest < 0) rest = 0;
    if (rest > limit) rest = limit;
    return machine < 0 || rest < machine ? rest : machine;
}

int32_t shoal_core_count(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (int32_t)count : 1;
}

int64_t shoal_resident_bytes(int32_t process_id) {
    char path[64];
    if (process_id == 0) process_id = (int32_t)getpid();
    snprintf(path, sizeof path, "/proc/%d/status", process_id);
    int64_t kibibytes = number_in_file(path, "VmRSS");
    return kibibytes < 0 ? -1 : kibibytes * 1024;
}

// Version 1 of control groups, where the memory controller has a tree of its own.
static int64_t kills_in_group_version_1(void) {
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL) return -1;
    char line[512], path[700];
    int64_t value = -1;
    while (value < 0 && fgets(line, sizeof line, file) != NULL) {
        char *folder = strstr(line, ":memory:");
        if (folder == NULL) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(path, sizeof path, "/sys/fs/cgroup/memory%s/memory.oom_control", folder + strlen(":memory:"));
        value = number_in_file(path, "oom_kill");
    }
    fclose(file);
    return value;
}

int64_t shoal_out_of_memory_kill_count(void) {
    char folder[600], path[700];
    control_group_folder(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/memory.events", folder);
    int64_t value = folder[0] == 0 ? -1 : number_in_file(path, "oom_kill");
    if (value < 0) value = kills_in_group_version_1();
    return value < 0 ? number_in_file("/proc/vmstat", "oom_kill") : value;
}

int shoal_process_pulse(int32_t process_id, struct shoal_pulse *pulse) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", process_id);
    FILE *file = fopen(path, "re");
    if (file == NULL) return -1;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    // The name in parentheses may hold anything, so that fields are counted from its end. Source: proc(5).
    char *fields = strrchr(text, ')');
    char state;
    long long major, user, system;
    const char *format = ") %c %*d %*d %*d %*d %*d %*u %*u %*u %lld %*u %lld %lld";
    if (fields == NULL || sscanf(fields, format, &state, &major, &user, &system) != 4) return -1;
    long ticks = sysconf(_SC_CLK_TCK);
    if (ticks <= 0) return -1;
    pulse->cpu_nanoseconds = (int64_t)(user + system) * (1000000000 / ticks);
    pulse->major_faults = major;
    pulse->is_stopped = state == 'T' || state == 't';
    snprintf(path, sizeof path, "/proc/%d/io", process_id);
    int64_t bytes = number_in_file(path, "rchar");
    pulse->read_bytes = bytes < 0 ? 0 : bytes;
    return 0;
}

void shoal_depend_on_parent(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    FILE *file = fopen("/proc/self/oom_score_adj", "we");
    if (file == NULL) return;
    fputs("500", file);
    fclose(file);
}

void shoal_set_thread_name(const char *name) {
    char cut[16];
    snprintf(cut, sizeof cut, "%s", name);
    pthread_setname_np(pthread_self(), cut);
}

#elif defined(__APPLE__)

#include <libproc.h>
#include <mach/mach.h>
#include <mach/mach_time.h>
#include <sys/proc.h>
#include <sys/sysctl.h>

int64_t shoal_memory_total_bytes(void) {
    int64_t bytes = -1;
    size_t size = sizeof bytes;
    return sysctlbyname("hw.memsize", &bytes, &size, NULL, 0) == 0 ? bytes : -1;
}

int64_t shoal_memory_available_bytes(void) {
    vm_statistics64_data_t statistics;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&statistics, &count) != KERN_SUCCESS) {
        return -1;
    }
    int64_t pages = (int64_t)statistics.free_count + statistics.inactive_count + statistics.purgeable_count;
    return pages * (int64_t)vm_kernel_page_size;
}

int32_t shoal_core_count(void) {
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (int32_t)count : 1;
}

int64_t shoal_resident_bytes(int32_t process_id) {
    struct proc_taskinfo info;
    if (process_id == 0) process_id = (int32_t)getpid();
    int size = proc_pidinfo(process_id, PROC_PIDTASKINFO, 0, &info, sizeof info);
    return size == (int)sizeof info ? (int64_t)info.pti_resident_size : -1;
}

int64_t shoal_out_of_memory_kill_count(void) { return -1; }

int shoal_process_pulse(int32_t process_id, struct shoal_pulse *pulse) {
    struct rusage_info_v2 usage;
    struct proc_bsdinfo info;
    mach_timebase_info_data_t base;
    if (proc_pid_rusage(process_id, RUSAGE_INFO_V2, (rusage_info_t *)&usage) != 0) return -1;
    if (proc_pidinfo(process_id, PROC_PIDTBSDINFO, 0, &info, sizeof info) != (int)sizeof info) return -1;
    if (mach_timebase_info(&base) != KERN_SUCCESS || base.denom == 0) return -1;
    pulse->cpu_nanoseconds = (int64_t)((usage.ri_user_time + usage.ri_system_time) * base.numer / base.denom);
    pulse->read_bytes = (int64_t)usage.ri_diskio_bytesread;
    pulse->major_faults = (int64_t)usage.ri_pageins;
    pulse->is_stopped = info.pbi_status == SSTOP;
    return 0;
}

// Here an engine notices the end of its parent by the end of its input; a stopped one when it goes on.
void shoal_depend_on_parent(void) {}

void shoal_set_thread_name(const char *name) { pthread_setname_np(name); }

#else
#error "memory facts are written for Linux, Android and Darwin"
#endif

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#include <sys/utsname.h>

void shoal_processor_name(char *name, size_t capacity) {
    if (capacity == 0) return;
    name[0] = 0;
#if defined(__APPLE__)
    size_t size = capacity;
    if (sysctlbyname("machdep.cpu.brand_string", name, &size, NULL, 0) == 0 && name[0] != 0) return;
#elif defined(__linux__)
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];
    while (file != NULL && name[0] == 0 && fgets(line, sizeof line, file) != NULL) {
        char *value = strchr(line, ':');
        if (value == NULL || strncmp(line, "model name", 10) != 0) continue;
        value += 1 + strspn(value + 1, " \t");
        value[strcspn(value, "\n")] = 0;
        snprintf(name, capacity, "%s", value);
    }
    if (file != NULL) fclose(file);
    if (name[0] != 0) return;
#endif
    struct utsname system;
    snprintf(name, capacity, "%s", uname(&system) == 0 ? system.machine : "unknown");
}
