/* Connections per second: connect, exchange 64 bytes, close, the next one.
 *
 *   port=N  at_once=1  checked=1  reset=0
 *
 * at_once: how many visitors do so at a time.
 * checked: whether the answer must be what was sent.
 * reset: whether visitors close with a reset (SO_LINGER 0) instead of what close(2) sends, a FIN.
 *
 * The latency is from connect to answer. Visitors come from many addresses of 127.0.0.0/8 in turn:
 * each has some 28,000 ports, and whoever closes first keeps a port in TIME_WAIT for a minute.
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
#define FIRST_ADDRESS 0x7f000101u /* 127.0.1.1 */
#define ADDRESSES 250

struct visit {
    int fd;
    size_t got;
    bool asked;
    uint64_t began;
};

static int poller, port, in_flight;
static bool checked, reset;
static uint64_t operations, ends_at, tries;
static const char message[SIZE + 1] = "A connection that says sixty-four bytes, hears them, and goes.\r\n";
static struct histogram latencies;

static void start(struct visit *v) {
    v->got = 0;
    v->asked = false;
    v->began = now_ns();
    v->fd = dial_from(FIRST_ADDRESS + (uint32_t)(tries++ % ADDRESSES), port);
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
    if (reset) setsockopt(v->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
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
    operations = 0;
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
    uint64_t ended = now_ns();
    if (in_flight && ended > ends_at) ended = ends_at; /* DRAIN_SECONDS in which nothing came */
    errors[E_UNANSWERED] += (uint64_t)in_flight;
    for (int i = 0; i < at_once; i++)
        if (visits[i].fd >= 0) leave(&visits[i]);
    print_result(operations, operations * SIZE, (double)(ended - began) / 1e9, &latencies);
}

int main(int argc, char **argv) {
    begin();
    port = (int)number(argc, argv, "port", 0);
    int at_once = (int)number(argc, argv, "at_once", 1);
    checked = number(argc, argv, "checked", 1);
    reset = number(argc, argv, "reset", 0);
    struct visit *visits = need((size_t)at_once, sizeof *visits);
    for (int i = 0; i < at_once; i++) visits[i].fd = -1;
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
    print_ready(0);
    for (double seconds; order(&seconds);) run(visits, at_once, seconds);
    return 0;
}
