/*
 * Serves one file over HTTP to whoever connects to 127.0.0.1:PORT, until killed.
 * Usage: file_server PORT FILE
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void serve(int client, const char *path)
{
    char request[4096], head[256];
    struct stat status;
    if (read(client, request, sizeof request) <= 0)
        return;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &status) < 0)
        return;
    int length = snprintf(head, sizeof head, "HTTP/1.0 200 OK\r\nContent-Length: %lld\r\n\r\n",
                          (long long)status.st_size);
    if (write(client, head, (size_t)length) == length)
        for (off_t sent = 0; sent < status.st_size;)
            if (sendfile(client, file, &sent, (size_t)(status.st_size - sent)) <= 0)
                break;
    close(file);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(argv[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 4) < 0) {
        perror("file_server");
        return 1;
    }
    for (;;) {
        int client = accept(listener, NULL, NULL);
        serve(client, argv[2]);
        close(client);
    }
}
