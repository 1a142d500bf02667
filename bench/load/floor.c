/* The floor: the least that a server of one process does, one epoll_wait for a batch of events,
 * one recv and one send for each message.
 *
 *   fan=0
 *
 * It sends back what arrives. With fan=1 it sends what arrives to everyone, each line with PREFIX
 * before it, and drops lines that begin with "/".
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FD 20000
#define PREFIX "[#all] guest1234: " /* as long as what the chat writes before a message */

struct rest { char *data; size_t size; };

static int poller, members[MAX_FD], member_count;
static struct rest rests[MAX_FD]; /* what a full socket did not take */
static char inbox[1 << 18], outbox[1 << 20];

static void watch(int fd, uint32_t events, int operation) {
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, operation, fd, &e)) fail("epoll_ctl");
}

static void drop(int fd) {
    free(rests[fd].data);
    rests[fd] = (struct rest){0};
    for (int i = 0; i < member_count; i++)
        if (members[i] == fd) members[i] = members[--member_count];
    close(fd);
}

static void admit(int listener, bool fan) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
        if (fan) members[member_count++] = fd;
    }
}

static void push_rest(int fd) {
    struct rest *r = &rests[fd];
    ssize_t n = send(fd, r->data, r->size, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN) drop(fd);
        return;
    }
    r->size -= (size_t)n;
    memmove(r->data, r->data + n, r->size);
    if (r->size) return;
    free(r->data);
    r->data = NULL;
    watch(fd, EPOLLIN, EPOLL_CTL_MOD);
}

static void send_all(int fd, const char *data, size_t size) {
    struct rest *r = &rests[fd];
    ssize_t n = r->size ? 0 : send(fd, data, size, MSG_NOSIGNAL);
    if (n < 0) n = 0;
    if ((size_t)n == size) return;
    r->data = realloc(r->data, r->size + size - (size_t)n);
    if (!r->data) fail("realloc");
    memcpy(r->data + r->size, data + n, size - (size_t)n);
    r->size += size - (size_t)n;
    watch(fd, EPOLLOUT, EPOLL_CTL_MOD); /* reads no more until all is sent */
}

static void fan_out(const char *data, size_t size) {
    size_t filled = 0;
    for (const char *at = data, *end = data + size, *stop; at < end; at = stop + 1) {
        stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end - 1;
        if (*at == '/' || filled + 256 > sizeof outbox) continue;
        memcpy(outbox + filled, PREFIX, sizeof PREFIX - 1);
        filled += sizeof PREFIX - 1;
        memcpy(outbox + filled, at, (size_t)(stop - at));
        filled += (size_t)(stop - at);
        memcpy(outbox + filled, "\r\n", 2);
        filled += 2;
    }
    for (int i = 0; filled && i < member_count; i++) send_all(members[i], outbox, filled);
}

static void serve(int fd, bool fan) {
    if (rests[fd].size) {
        push_rest(fd);
        return;
    }
    ssize_t n = recv(fd, inbox, 65536, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) drop(fd);
    } else if (fan) {
        fan_out(inbox, (size_t)n);
    } else {
        send_all(fd, inbox, (size_t)n);
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    struct rlimit files = {MAX_FD, MAX_FD};
    begin();
    alarm(4 * LIFETIME); /* one server, several loads */
    setrlimit(RLIMIT_NOFILE, &files);
    bool fan = number(argc, argv, "fan", 0);
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
    int listener = listening(4096);
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener) admit(listener, fan);
            else serve(events[i].data.fd, fan);
        }
    }
}
