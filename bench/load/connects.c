/* Connections per second: connect, exchange 64 bytes, close with a reset, the next one.
 *
 *   port=N  at_once=1  checked=1
 *
 * The reset (SO_LINGER 0) leaves no port in TIME_WAIT. The latency is from connect to answer.
 * checked: whether the answer must be what was sent.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE 64

struct visit {
    int fd;
    size_t got;
    bool asked;
    uint64_t began;
};

static int poller, port, in_flight;
static bool checked;
static uint64_t operations, ends_at, tries;
static const char message[SIZE + 1] = "A connection that says sixty-four bytes, hears them, and goes.\r\n";
static struct histogram latencies;

static void start(struct visit *v) {
    v->got = 0;
    v->asked = false;
    v->began = now_ns();
    v->fd = dial(port);
    tries++;
    if (v->fd < 0) {
        count_error(errno);
        return;
    }
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = v};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, v->fd, &e)) fail("epoll_ctl");
    in_flight++;
}

static void leave(struct visit *v) {
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    setsockopt(v->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(v->fd); /* epoll forgets it, too */
    v->fd = -1;
    in_flight--;
}

static void again(struct visit *v) {
    leave(v);
    if (now_ns() < ends_at) start(v);
}

static void lost(struct visit *v, int error) {
    count_error(error);
    again(v);
}

static void ask(struct visit *v) {
    if (send(v->fd, message, SIZE, MSG_NOSIGNAL) != SIZE) {
        lost(v, errno);
        return;
    }
    v->asked = true;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = v};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, v->fd, &e)) fail("epoll_ctl");
}

static void hear(struct visit *v) {
    char answer[SIZE];
    ssize_t n = recv(v->fd, answer, sizeof answer - v->got, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) lost(v, n ? errno : 0);
        return;
    }
    if (checked && memcmp(answer, message + v->got, (size_t)n)) errors[E_WRONG]++;
    v->got += (size_t)n;
    if (v->got < SIZE) return;
    record(&latencies, now_ns() - v->began);
    operations++;
    again(v);
}

static void run(struct visit *visits, int at_once, double seconds) {
    struct epoll_event events[EVENTS];
    uint64_t began = now_ns(), gives_up;
    ends_at = began + (uint64_t)(seconds * 1e9);
    gives_up = ends_at + DRAIN_SECONDS * 1000000000ull;
    operations = tries = 0;
    memset(&latencies, 0, sizeof latencies);
    for (int i = 0; i < at_once; i++) start(&visits[i]);
    while (in_flight && now_ns() < gives_up) {
        int count = epoll_wait(poller, events, EVENTS, 100);
        for (int i = 0; i < count; i++) {
            struct visit *v = events[i].data.ptr;
            if (v->asked) hear(v);
            else if (events[i].events & (EPOLLERR | EPOLLHUP)) lost(v, ECONNREFUSED);
            else if (events[i].events & EPOLLOUT) ask(v);
        }
    }
    errors[E_UNANSWERED] += (uint64_t)in_flight;
    for (int i = 0; i < at_once; i++)
        if (visits[i].fd >= 0) leave(&visits[i]);
    print_result(operations, operations * SIZE, (double)(now_ns() - began) / 1e9, &latencies);
}

int main(int argc, char **argv) {
    begin();
    port = (int)number(argc, argv, "port", 0);
    int at_once = (int)number(argc, argv, "at_once", 1);
    checked = number(argc, argv, "checked", 1);
    struct visit *visits = need((size_t)at_once, sizeof *visits);
    for (int i = 0; i < at_once; i++) visits[i].fd = -1;
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
    print_ready(0);
    for (double seconds; order(&seconds);) run(visits, at_once, seconds);
    return 0;
}
