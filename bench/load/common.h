/* What all load programs share: time, latencies, arguments, connecting, and how they are driven.
 *
 * A load program opens its connections, prints a line of JSON, and then reads orders from stdin:
 * "go SECONDS" is answered by a line of JSON with the result; end-of-file ends the program. It
 * ends with its parent, and by itself after LIFETIME seconds.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIFETIME 900        /* seconds; longer than any workload takes */
#define DRAIN_SECONDS 5     /* how long answers may take after a slice */
#define OPENING 64          /* connections that are being opened at a time: below any backlog */
#define EVENTS 1024

/* Errors by kind; `error_names` has the words. */
enum { E_CONNECT, E_RESET, E_CLOSED, E_UNANSWERED, E_WRONG, E_KINDS };
extern uint64_t errors[E_KINDS];

/* Latencies in nanoseconds: 32 buckets for each power of two, so 3 % wide at most. */
#define SUB_BITS 5
#define BUCKETS (64 << SUB_BITS)
struct histogram { uint64_t counts[BUCKETS], total; };

uint64_t now_ns(void);
void record(struct histogram *h, uint64_t ns);
double quantile_us(const struct histogram *h, double q);

/* Value of NAME=VALUE on the command line, or `otherwise`. */
const char *text(int argc, char **argv, const char *name, const char *otherwise);
long number(int argc, char **argv, const char *name, long otherwise);

void begin(void);                  /* bound the lifetime; ignore SIGPIPE */
_Noreturn void fail(const char *what);
void *need(size_t count, size_t size);
int dial(int port);                /* begin to connect, without waiting; -1 if it failed */
int dial_from(uint32_t address, int port);    /* the same, from an address of this machine */
int open_all(int port, int *fds, int count);  /* open `count`; tell how many are open */
void blocking_exchange(int fd, const char *data, size_t size, char *answer);
int listening(int backlog);        /* listen on a free port of the loopback; print it */

bool order(double *seconds);       /* wait for "go SECONDS"; false at the end */
void print_ready(int opened);
void print_result(uint64_t operations, uint64_t bytes, double seconds, const struct histogram *h);
void count_error(int error);       /* by errno; 0 means that the peer has closed */

#endif
