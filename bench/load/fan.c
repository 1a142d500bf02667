/* Fan-out: one of the clients says something, all of them are sent it.
 *
 *   port=N  connections=1001  setup=TEXT  size=64  window=1
 *
 * Each client first sends the line `setup`; what is answered to that is read until it is quiet.
 * A message is a line of `size` bytes that begins with "@". A delivery is an "@" that has arrived
 * at a client. `window` messages are under way at a time; the latency of one is the time from its
 * sending to its last delivery.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_WINDOW 1024
#define QUIET_MS 500

static int poller, *fds, opened, window;
static size_t size;
static char *message, inbox[1 << 18];
static uint64_t deliveries, received, said, heard, sent_at[MAX_WINDOW];
static struct histogram latencies;

static void say(void) {
    sent_at[said++ % MAX_WINDOW] = now_ns();
    /* Little is under way: the kernel takes it whole. */
    if (send(fds[0], message, size, MSG_NOSIGNAL) != (ssize_t)size) fail("send");
}

static bool turn(int timeout) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, timeout);
    for (int i = 0; i < count; i++) {
        ssize_t n = recv(events[i].data.fd, inbox, sizeof inbox, 0);
        if (n <= 0) {
            if (n == 0 || errno != EAGAIN) {
                count_error(n ? errno : 0);
                epoll_ctl(poller, EPOLL_CTL_DEL, events[i].data.fd, NULL);
            }
            continue;
        }
        received += (uint64_t)n;
        for (char *at = inbox, *end = inbox + n; (at = memchr(at, '@', (size_t)(end - at))); at++)
            deliveries++;
    }
    return count > 0;
}

static void run(double seconds) {
    uint64_t began = now_ns(), now = began, ends_at = began + (uint64_t)(seconds * 1e9);
    deliveries = received = said = heard = 0;
    memset(&latencies, 0, sizeof latencies);
    for (int i = 0; i < window; i++) say();
    while (heard < said && now < ends_at + DRAIN_SECONDS * 1000000000ull) {
        turn(100);
        now = now_ns();
        for (; heard < said && deliveries >= (heard + 1) * (uint64_t)opened; heard++) {
            record(&latencies, now - sent_at[heard % MAX_WINDOW]);
            if (now < ends_at) say();
        }
    }
    errors[E_UNANSWERED] += said * (uint64_t)opened - deliveries;
    print_result(deliveries, received, (double)(now_ns() - began) / 1e9, &latencies);
}

static void set_up(const char *setup) {
    char line[256];
    int length = snprintf(line, sizeof line, "%s\n", setup);
    for (int i = 0; i < opened; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fds[i]};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fds[i], &e)) fail("epoll_ctl");
        if (send(fds[i], line, (size_t)length, MSG_NOSIGNAL) != length) fail("send");
        turn(0);
    }
    uint64_t until = now_ns() + 60000000000ull;
    while (turn(QUIET_MS) && now_ns() < until) {}
}

int main(int argc, char **argv) {
    begin();
    int count = (int)number(argc, argv, "connections", 1001);
    size = (size_t)number(argc, argv, "size", 64);
    window = (int)number(argc, argv, "window", 1);
    if (window > MAX_WINDOW) window = MAX_WINDOW;
    message = need(size, 1);
    memset(message, 'x', size);
    message[0] = '@';
    message[size - 1] = '\n';
    fds = need((size_t)count, sizeof *fds);
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
    opened = open_all((int)number(argc, argv, "port", 0), fds, count);
    if (!opened) fail("no connection");
    set_up(text(argc, argv, "setup", ""));
    print_ready(opened);
    for (double seconds; order(&seconds);) run(seconds);
    return 0;
}
