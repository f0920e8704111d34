#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "CShoalSystem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#if defined(__linux__)
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(__linux__) && !defined(__APPLE__)
#error "child processes are written for Linux, Android and Darwin"
#endif

static int close_on_exec(int ends[2]) {
    for (int i = 0; i < 2; i++) {
        if (fcntl(ends[i], F_SETFD, FD_CLOEXEC) != 0) {
            int code = errno;
            close(ends[0]);
            close(ends[1]);
            return -code;
        }
    }
    return 0;
}

int shoal_socket_pair(int ends[2]) {
#if defined(SOCK_CLOEXEC)
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0 ? 0 : -errno;
#else
    return socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 ? close_on_exec(ends) : -errno;
#endif
}

int shoal_pipe(int ends[2]) {
    return pipe(ends) == 0 ? close_on_exec(ends) : -errno;
}

// Descriptors that leak into a child keep sockets open after their owner died, so all but 0, 1 and 2 are closed.
static int add_close_rest(posix_spawn_file_actions_t *actions) {
#if defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
    return posix_spawn_file_actions_addclosefrom_np(actions, 3);
#endif
#endif
    (void)actions;
    return 0;
}

static int set_up_attributes(posix_spawnattr_t *attributes) {
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    // A daemon ignores some of these, and "ignored" is inherited over exec.
    const int reset[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGCHLD, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof reset / sizeof reset[0]; i++) sigaddset(&defaults, reset[i]);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
#if defined(POSIX_SPAWN_CLOEXEC_DEFAULT)
    flags |= POSIX_SPAWN_CLOEXEC_DEFAULT;
#endif
    int code = posix_spawnattr_setsigmask(attributes, &none);
    if (code == 0) code = posix_spawnattr_setsigdefault(attributes, &defaults);
    if (code == 0) code = posix_spawnattr_setflags(attributes, flags);
    return code;
}

int32_t shoal_spawn(
    const char *path, char *const arguments[], char *const environment[], int standard_input, int standard_output,
    int standard_error) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t process_id = -1;
    int code = posix_spawn_file_actions_init(&actions);
    if (code != 0) return -code;
    code = posix_spawnattr_init(&attributes);
    if (code != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return -code;
    }
    if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, standard_input, 0);
    if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, standard_output, 1);
    if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, standard_error, 2);
    if (code == 0) code = add_close_rest(&actions);
    if (code == 0) code = set_up_attributes(&attributes);
    if (code == 0) code = posix_spawn(&process_id, path, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return code == 0 ? (int32_t)process_id : -code;
}

#if defined(__linux__)
static void close_rest_on_exec(void) {
    enum { close_on_exec_flag = 4, descriptor_count_max = 4096 };
    if (syscall(SYS_close_range, 3u, ~0u, close_on_exec_flag) == 0) return;
    // An older kernel.
    for (int descriptor = 3; descriptor < descriptor_count_max; descriptor++) fcntl(descriptor, F_SETFD, FD_CLOEXEC);
}

// Between fork and exec only async-signal-safe calls are allowed. `failure` gets errno when exec does not succeed.
static void become_tied_child(
    const char *path, char *const arguments[], char *const environment[], int output, int failure, pid_t parent) {
    static const int reset[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof reset / sizeof reset[0]; i++) signal(reset[i], SIG_DFL);
    // An rpc-server that loses llama-server in the middle of an answer would die of it, and seem to be the cause.
    signal(SIGPIPE, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int empty = open("/dev/null", O_RDONLY);
    // The second check: the parent may have ended before it was bound to.
    if (empty >= 0 && dup2(empty, 0) >= 0 && dup2(output, 1) >= 0 && dup2(output, 2) >= 0 &&
        prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent) {
        close_rest_on_exec();
        execve(path, arguments, environment);
    }
    int code = errno != 0 ? errno : ESRCH;
    ssize_t written = write(failure, &code, sizeof code);
    (void)written;
    _exit(127);
}

int32_t shoal_spawn_tied(
    const char *path, char *const arguments[], char *const environment[], int output) {
    int failure[2];
    int code = shoal_pipe(failure);
    if (code != 0) return code;
    const pid_t parent = getpid();
    const pid_t process_id = fork();
    if (process_id == 0) become_tied_child(path, arguments, environment, output, failure[1], parent);
    code = process_id < 0 ? errno : 0;
    close(failure[1]);
    int child_code = 0;
    ssize_t count = 0;
    if (process_id > 0) {
        do {
            count = read(failure[0], &child_code, sizeof child_code);
        } while (count < 0 && errno == EINTR);
    }
    close(failure[0]);
    if (process_id < 0) return -code;
    if (count <= 0) return (int32_t)process_id;
    int status;
    while (waitpid(process_id, &status, 0) < 0 && errno == EINTR) {
    }
    return -child_code;
}
#else
int32_t shoal_spawn_tied(
    const char *path, char *const arguments[], char *const environment[], int output) {
    return shoal_spawn(path, arguments, environment, output, output, output);
}
#endif

int shoal_wait_ended(int32_t process_id) {
    siginfo_t info;
    int result;
    do {
        memset(&info, 0, sizeof info);
        result = waitid(P_PID, (id_t)process_id, &info, WEXITED | WNOWAIT);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : -errno;
}

int shoal_reap(int32_t process_id, int32_t *exit_code, int32_t *signal_number) {
    int status = 0;
    pid_t result;
    do {
        result = waitpid((pid_t)process_id, &status, 0);
    } while (result < 0 && errno == EINTR);
    if (result < 0) return -errno;
    *exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    *signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : -1;
    return 0;
}

int shoal_signal(int32_t process_id, int32_t signal_number) {
    return kill((pid_t)process_id, signal_number) == 0 ? 0 : -errno;
}

int shoal_wait_readable(int descriptor, int wake) {
    struct pollfd descriptors[2] = {{descriptor, POLLIN, 0}, {wake, POLLIN, 0}};
    int result;
    do {
        result = poll(descriptors, 2, -1);
    } while (result < 0 && errno == EINTR);
    if (result < 0) return -errno;
    return (descriptors[0].revents != 0 ? 1 : 0) | (descriptors[1].revents != 0 ? 2 : 0);
}
