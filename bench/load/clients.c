/* Clients in a closed loop: a batch of messages, all answers, the next batch.
 *
 *   port=N  connections=1  busy=CONNECTIONS  size=64  depth=1  lines=0  pace_us=0  avoid=  polling=0
 *
 * busy: so many of the connections send, the others only stay open. depth: messages in a batch.
 * lines: answers are counted by their line feeds, else by their bytes, which must be what was sent.
 * pace_us: each connection begins a batch that often at most. avoid: connections whose first
 * answer begins with this character stay silent. polling: never sleep but ask again and again, so
 * that no server pays for waking the clients.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    int fd;
    bool dead, out, waiting; /* closed; has more to send; for an answer */
    size_t sent, got;
    uint64_t began, due;
    struct client *next; /* among those that wait for their time */
};

static int poller, depth, in_flight, living;
static size_t size, batch;
static bool lines, checked, polling;
static uint64_t pace, operations, received, ends_at;
static char *payload, inbox[1 << 18];
static struct histogram latencies;
static struct client *first_due, *last_due;

static void watch(struct client *c, bool out) {
    if (c->out == out) return;
    c->out = out;
    struct epoll_event e = {.events = out ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e)) fail("epoll_ctl");
}

static void die(struct client *c, int error) {
    count_error(error);
    epoll_ctl(poller, EPOLL_CTL_DEL, c->fd, NULL);
    in_flight -= c->waiting;
    c->dead = true;
    c->waiting = false;
    living--;
}

static void push(struct client *c) {
    ssize_t n = send(c->fd, payload + c->sent, batch - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        die(c, errno);
        return;
    }
    if (n > 0) c->sent += (size_t)n;
    watch(c, c->sent < batch);
}

static void start(struct client *c, uint64_t now) {
    c->sent = c->got = 0;
    c->began = now;
    c->waiting = true;
    in_flight++;
    push(c);
}

static void later(struct client *c) {
    c->due = c->began + pace;
    c->next = NULL;
    if (first_due) last_due->next = c; else first_due = c;
    last_due = c;
}

static void finish(struct client *c) {
    uint64_t now = now_ns();
    record(&latencies, now - c->began);
    operations += (uint64_t)depth;
    c->waiting = false;
    in_flight--;
    if (now >= ends_at) return;
    if (pace) later(c); else start(c, now);
}

static void take(struct client *c) {
    ssize_t n = recv(c->fd, inbox, sizeof inbox, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) die(c, n ? errno : 0);
        return;
    }
    received += (uint64_t)n;
    if (!c->waiting) errors[E_WRONG]++; /* nobody asked */
    if (lines) {
        for (char *at = inbox, *end = inbox + n; (at = memchr(at, '\n', (size_t)(end - at))); at++)
            c->got++;
        if (c->waiting && c->got >= (size_t)depth) finish(c);
        return;
    }
    if (c->got + (size_t)n > batch || (checked && memcmp(inbox, payload + c->got, (size_t)n)))
        errors[E_WRONG]++;
    c->got += (size_t)n;
    if (c->waiting && c->got >= batch) finish(c);
}

static int patience(uint64_t now) {
    if (polling) return 0;
    uint64_t until = now >= ends_at ? ends_at + DRAIN_SECONDS * 1000000000ull : ends_at;
    if (first_due && first_due->due < until) until = first_due->due;
    return until <= now ? 0 : (int)((until - now + 999999) / 1000000);
}

static void run(struct client *clients, int busy, double seconds) {
    struct epoll_event events[EVENTS];
    uint64_t began = now_ns(), now = began;
    ends_at = began + (uint64_t)(seconds * 1e9);
    operations = received = 0;
    in_flight = 0;
    first_due = last_due = NULL;
    memset(&latencies, 0, sizeof latencies);
    for (int i = 0; i < busy; i++) {
        if (clients[i].dead) continue;
        /* Paced clients begin one after the other, not all at once. */
        clients[i].began = began - pace + pace * (uint64_t)i / (uint64_t)busy;
        if (pace) later(&clients[i]); else start(&clients[i], now_ns());
    }
    while (in_flight || (now < ends_at && living)) {
        int count = epoll_wait(poller, events, EVENTS, patience(now));
        for (int i = 0; i < count; i++) {
            struct client *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT && !c->dead) push(c);
            if (events[i].events & ~(uint32_t)EPOLLOUT && !c->dead) take(c);
        }
        now = now_ns();
        for (struct client *c; now < ends_at && (c = first_due) && c->due <= now;) {
            first_due = c->next;
            if (!c->dead) start(c, now);
        }
        if (now > ends_at + DRAIN_SECONDS * 1000000000ull) {
            errors[E_UNANSWERED] += (uint64_t)in_flight;
            break;
        }
    }
    print_result(operations, received, (double)(now_ns() - began) / 1e9, &latencies);
}

static int settle(struct client *clients, int opened, char avoid) {
    int kept = 0;
    for (int i = 0; i < opened; i++) {
        if (avoid) {
            blocking_exchange(clients[i].fd, payload, batch, inbox);
            if (inbox[0] == avoid) continue;
        }
        clients[kept++] = clients[i];
    }
    for (int i = 0; i < kept; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clients[i]};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, clients[i].fd, &e)) fail("epoll_ctl");
    }
    return kept;
}

int main(int argc, char **argv) {
    begin();
    int port = (int)number(argc, argv, "port", 0);
    int count = (int)number(argc, argv, "connections", 1);
    int busy = (int)number(argc, argv, "busy", count);
    char avoid = text(argc, argv, "avoid", "")[0];
    size = (size_t)number(argc, argv, "size", 64);
    depth = (int)number(argc, argv, "depth", 1);
    lines = number(argc, argv, "lines", 0);
    pace = (uint64_t)number(argc, argv, "pace_us", 0) * 1000;
    polling = number(argc, argv, "polling", 0);
    checked = !avoid;
    batch = size * (size_t)depth;
    payload = need(batch, 1);
    for (size_t i = 0; i < batch; i++) payload[i] = (char)('a' + i % 23);
    for (size_t i = size - 1; lines && i < batch; i += size) payload[i] = '\n';
    int *fds = need((size_t)count, sizeof *fds);
    struct client *clients = need((size_t)count, sizeof *clients);
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
    int opened = open_all(port, fds, count);
    for (int i = 0; i < opened; i++) clients[i].fd = fds[i];
    living = settle(clients, opened, avoid);
    print_ready(living);
    if (busy > living) busy = living;
    for (double seconds; order(&seconds);) run(clients, busy, seconds);
    return 0;
}
