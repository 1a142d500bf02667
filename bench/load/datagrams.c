/* Clients that send datagrams in a closed loop: a batch, all answers, the next batch.
 *
 *   port=N  clients=16  depth=4  size=64
 *
 * depth: datagrams in a batch. UDP may lose some: a client that has waited for LOST_MS counts what is
 * unanswered and begins its next batch.
 */
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_DEPTH 64
#define LOST_MS 200

struct client {
    int fd, awaited;
    uint64_t began;
};

static int poller, depth, in_flight;
static size_t size;
static uint64_t operations, received, ends_at;
static char payload[65536], inbox[MAX_DEPTH][2048];
static struct histogram latencies;

static int connected(int port) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
    return fd;
}

static void start(struct client *c, uint64_t now) {
    struct mmsghdr messages[MAX_DEPTH] = {0};
    struct iovec whole = {payload, size};
    for (int i = 0; i < depth; i++)
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &whole, .msg_iovlen = 1};
    int sent = sendmmsg(c->fd, messages, (unsigned)depth, 0);
    if (sent < 1) fail("sendmmsg");
    c->began = now;
    c->awaited = sent;
    in_flight++;
}

static void take(struct client *c) {
    struct mmsghdr messages[MAX_DEPTH] = {0};
    struct iovec parts[MAX_DEPTH];
    for (int i = 0; i < depth; i++) {
        parts[i] = (struct iovec){inbox[i], sizeof inbox[i]};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    int count = recvmmsg(c->fd, messages, (unsigned)depth, 0, NULL);
    if (count < 0) {
        if (errno != EAGAIN) count_error(errno);
        return;
    }
    for (int i = 0; i < count; i++) {
        received += messages[i].msg_len;
        if (messages[i].msg_len != size || memcmp(inbox[i], payload, size)) errors[E_WRONG]++;
    }
    if (!c->awaited) return; /* late: it counts as unanswered already */
    operations += (uint64_t)count;
    c->awaited -= count;
    if (c->awaited > 0) return;
    uint64_t now = now_ns();
    record(&latencies, now - c->began);
    c->awaited = 0;
    in_flight--;
    if (now < ends_at) start(c, now);
}

static void look_for_lost(struct client *clients, int count, uint64_t now) {
    for (int i = 0; i < count; i++) {
        struct client *c = &clients[i];
        if (!c->awaited || now - c->began < LOST_MS * 1000000ull) continue;
        errors[E_UNANSWERED] += (uint64_t)c->awaited;
        c->awaited = 0;
        in_flight--;
        if (now < ends_at) start(c, now);
    }
}

static void run(struct client *clients, int count, double seconds) {
    struct epoll_event events[EVENTS];
    uint64_t began = now_ns(), now = began, looked = began;
    ends_at = began + (uint64_t)(seconds * 1e9);
    operations = received = 0;
    in_flight = 0;
    memset(&latencies, 0, sizeof latencies);
    for (int i = 0; i < count; i++) start(&clients[i], now_ns());
    while (in_flight) {
        int ready = epoll_wait(poller, events, EVENTS, LOST_MS);
        for (int i = 0; i < ready; i++) take(events[i].data.ptr);
        now = now_ns();
        if (now - looked < LOST_MS * 1000000ull) continue;
        looked = now;
        look_for_lost(clients, count, now);
    }
    print_result(operations, received, (double)(now_ns() - began) / 1e9, &latencies);
}

int main(int argc, char **argv) {
    begin();
    int port = (int)number(argc, argv, "port", 0);
    int count = (int)number(argc, argv, "clients", 16);
    depth = (int)number(argc, argv, "depth", 4);
    size = (size_t)number(argc, argv, "size", 64);
    if (depth > MAX_DEPTH || size > sizeof inbox[0]) fail("depth or size");
    for (size_t i = 0; i < size; i++) payload[i] = (char)('a' + i % 23);
    struct client *clients = need((size_t)count, sizeof *clients);
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
    for (int i = 0; i < count; i++) {
        clients[i].fd = connected(port);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &clients[i]};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, clients[i].fd, &e)) fail("epoll_ctl");
    }
    print_ready(count);
    for (double seconds; order(&seconds);) run(clients, count, seconds);
    return 0;
}
