/* Runs a program that ends with its parent.
 *
 *   under PARENT PROGRAM ARGUMENT...
 *
 * PR_SET_PDEATHSIG (prctl(2)) stays set when a program is executed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != atoi(argv[1])) return 1; /* it had gone before */
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return 127;
}
