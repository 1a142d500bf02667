/* The floor for datagrams: one recvmmsg for all that wait, and one sendmmsg that sends them back. */
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define LONGEST 2048

int main(void) {
    static char inbox[BATCH][LONGEST];
    static struct sockaddr_in senders[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    begin();
    alarm(4 * LIFETIME); /* one server, several loads */
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, size)) fail("bind");
    getsockname(fd, (struct sockaddr *)&here, &size);
    printf("port %d\n", ntohs(here.sin_port));
    fflush(stdout);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){inbox[i], LONGEST};
            messages[i].msg_hdr = (struct msghdr){.msg_name = &senders[i],
                                                  .msg_namelen = sizeof senders[i],
                                                  .msg_iov = &parts[i], .msg_iovlen = 1};
        }
        int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        if (count < 1) fail("recvmmsg");
        for (int i = 0; i < count; i++) parts[i].iov_len = messages[i].msg_len;
        if (sendmmsg(fd, messages, (unsigned)count, 0) < 0) fail("sendmmsg");
    }
}
