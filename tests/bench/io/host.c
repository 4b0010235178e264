/*
 * The host's end of the TCP measurements: PORT swallows what comes and answers with a byte when it
 * has ended; PORT + 1 sends as long as somebody listens. Ends with the process that started it.
 *
 *   io-host PORT
 */
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEP 262144

static uint8_t bytes[STEP];

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (s < 0 || bind(s, (struct sockaddr *)&address, sizeof address) != 0 || listen(s, 4) != 0) {
        perror("io-host");
        exit(1);
    }
    return s;
}

static void swallow(int s)
{
    while (read(s, bytes, sizeof bytes) > 0)
        ;
    if (write(s, "", 1) != 1)
        perror("io-host");
}

static void pour(int s)
{
    while (write(s, bytes, sizeof bytes) > 0)
        ;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 1;
    int port = atoi(argv[1]);
    struct pollfd fds[2] = {{.fd = listen_on(port), .events = POLLIN},
                            {.fd = listen_on(port + 1), .events = POLLIN}};
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    while (poll(fds, 2, -1) >= 0)
        for (int i = 0; i < 2; i++) {
            if (!(fds[i].revents & POLLIN))
                continue;
            int s = accept(fds[i].fd, NULL, NULL);
            if (s < 0)
                continue;
            if (i == 0)
                swallow(s);
            else
                pour(s);
            close(s);
        }
    return 0;
}
