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

int64_t shoal_out_of_memory_kill_count(void) { return number_in_file("/proc/vmstat", "oom_kill"); }

void shoal_set_thread_name(const char *name) {
    char cut[16];
    snprintf(cut, sizeof cut, "%s", name);
    pthread_setname_np(pthread_self(), cut);
}

#elif defined(__APPLE__)

#include <libproc.h>
#include <mach/mach.h>
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
