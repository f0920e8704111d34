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
    const char *path, char *const arguments[], char *const environment[], int standard_streams, int standard_error) {
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
    if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, standard_streams, 0);
    if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, standard_streams, 1);
    if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, standard_error, 2);
    if (code == 0) code = add_close_rest(&actions);
    if (code == 0) code = set_up_attributes(&attributes);
    if (code == 0) code = posix_spawn(&process_id, path, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return code == 0 ? (int32_t)process_id : -code;
}

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
