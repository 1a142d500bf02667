/* The process pool of the textbooks ("half-sync/half-async"), as a peer for connections.
 *
 *   workers=2  edge=1
 *
 * The parent watches the listening socket. At each event it takes the next child in turn and writes
 * one int to it. A child that reads one accepts one connection, and sends back what arrives on it.
 *
 * The fault of the design is kept: an event says that somebody waits, and not how many do. With
 * edge=1, as it is usually written, two clients that come at once may make one event: one of them
 * waits in the backlog until another client comes, and then that one waits. With edge=0 nobody is
 * left, but the parent writes again and again until a child has accepted, and most accepts find
 * nobody.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_WORKERS 64

static int poller;
static char inbox[1 << 16];

static void watch(int fd, uint32_t events) {
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e)) fail("epoll_ctl");
}

static void admit(int listener, int notices) {
    int notice;
    if (recv(notices, &notice, sizeof notice, 0) == 0) _exit(0); /* the parent has ended */
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) watch(fd, EPOLLIN);
}

static void serve(int fd) {
    ssize_t n = recv(fd, inbox, sizeof inbox, 0);
    if (n < 0 && errno == EAGAIN) return;
    /* What a full socket does not take ends the connection: a pool for small messages. */
    if (n <= 0 || send(fd, inbox, (size_t)n, MSG_NOSIGNAL) != n) close(fd);
}

static _Noreturn void work(int listener, int notices) {
    struct epoll_event events[EVENTS];
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
    watch(notices, EPOLLIN);
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == notices) admit(listener, notices);
            else serve(events[i].data.fd);
        }
    }
}

static void start(int listener, int workers, int *writers) {
    for (int i = 0; i < workers; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) fail("socketpair");
        pid_t child = fork();
        if (child < 0) fail("fork");
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm(4 * LIFETIME); /* a child does not inherit it */
            for (int other = 0; other < i; other++) close(writers[other]);
            close(pair[0]);
            work(listener, pair[1]);
        }
        close(pair[1]);
        writers[i] = pair[0];
    }
}

int main(int argc, char **argv) {
    struct epoll_event event;
    int writers[MAX_WORKERS], next = 0, notice = 1;
    begin();
    alarm(4 * LIFETIME); /* one server, several loads */
    int workers = (int)number(argc, argv, "workers", 2);
    bool edge = number(argc, argv, "edge", 1);
    if (workers < 1 || workers > MAX_WORKERS) workers = MAX_WORKERS;
    int listener = listening((int)number(argc, argv, "backlog", 4096));
    start(listener, workers, writers);
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
    watch(listener, edge ? EPOLLIN | EPOLLET : EPOLLIN);
    for (;;) {
        if (epoll_wait(poller, &event, 1, -1) < 1) continue;
        if (send(writers[next], &notice, sizeof notice, MSG_NOSIGNAL) < 0) fail("send");
        next = (next + 1) % workers;
    }
}
