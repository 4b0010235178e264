/*
 * Channels. All descriptors that they write to are made non-blocking, for a slow reader must not
 * hold up the board: what does not go out at once waits in a ring, and beyond that is lost.
 */
#include "ui/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#define INPUT_SIZE  4096
#define OUTPUT_SIZE (256 * 1024)
#define ESCAPE_KEY  1    /* Ctrl-A */
#define CLOSE_MS    1000 /* how long closing waits for a reader */

struct channel {
    struct byte_port *port;
    struct loop *loop;
    struct channel_keys keys;
    int in, out;  /* -1: none (yet) */
    int listener; /* -1 unless a socket */
    char *unlink_path;
    bool terminal; /* standard input is a terminal whose settings we changed */
    bool escapes;  /* Ctrl-A commands */
    bool escaped;  /* Ctrl-A was the last key */
    bool in_watched, out_watched;
    struct termios saved;
    uint8_t input[INPUT_SIZE]; /* read but not taken by the device yet */
    size_t input_start, input_end;
    uint8_t *output; /* ring of what `out` did not take yet: new ones are dropped when it is full */
    size_t output_start, output_count;
};

/* -- Output: never blocks the machine -- */

static void update_watches(struct channel *channel);

static size_t write_some(struct channel *channel, const uint8_t *bytes, size_t count)
{
    ssize_t wrote = write(channel->out, bytes, count);
    if (wrote >= 0)
        return (size_t)wrote;
    return errno == EAGAIN || errno == EINTR ? 0 : count; /* a broken reader loses its bytes */
}

static void flush_output(struct channel *channel)
{
    while (channel->output_count > 0) {
        size_t run = OUTPUT_SIZE - channel->output_start;
        if (run > channel->output_count)
            run = channel->output_count;
        size_t wrote = write_some(channel, channel->output + channel->output_start, run);
        channel->output_start = (channel->output_start + wrote) % OUTPUT_SIZE;
        channel->output_count -= wrote;
        if (wrote < run)
            return;
    }
}

static void send_bytes(void *opaque, const uint8_t *bytes, size_t count)
{
    struct channel *channel = opaque;
    if (channel->out < 0)
        return;
    flush_output(channel);
    if (channel->output_count == 0) {
        size_t wrote = write_some(channel, bytes, count);
        bytes += wrote;
        count -= wrote;
    }
    for (; count > 0 && channel->output_count < OUTPUT_SIZE; count--, bytes++) {
        size_t end = (channel->output_start + channel->output_count++) % OUTPUT_SIZE;
        channel->output[end] = *bytes;
    }
    update_watches(channel);
}

/* -- Input -- */

static void deliver(struct channel *channel)
{
    while (channel->input_start < channel->input_end && channel->port->receive) {
        size_t took =
            channel->port->receive(channel->port->device, channel->input + channel->input_start,
                                   channel->input_end - channel->input_start);
        if (took == 0)
            break;
        channel->input_start += took;
    }
    if (channel->input_start == channel->input_end)
        channel->input_start = channel->input_end = 0;
    update_watches(channel);
}

static void device_writable(void *opaque)
{
    deliver(opaque);
}

static void escape_command(struct channel *channel, uint8_t key)
{
    static const char help[] = "\r\nCtrl-A X  end the machine (power off hard)\r\n"
                               "Ctrl-A H  this help\r\n"
                               "Ctrl-A A  send Ctrl-A to the guest\r\n";
    switch (key) {
    case 'x':
    case 'X':
        channel->keys.quit(channel->keys.opaque);
        break;
    case 'c':
    case 'C': {
        static const char text[] = "\r\nThe monitor is not built yet.\r\n";
        write_some(channel, (const uint8_t *)text, sizeof text - 1);
        break;
    }
    case ESCAPE_KEY:
    case 'a':
    case 'A':
        channel->input[channel->input_end++] = ESCAPE_KEY;
        break;
    default:
        write_some(channel, (const uint8_t *)help, sizeof help - 1);
    }
}

static void hang_up(struct channel *channel);

static void read_input(struct channel *channel)
{
    uint8_t bytes[INPUT_SIZE];
    ssize_t got = read(channel->in, bytes, sizeof bytes); /* watched only when input[] is empty */
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        hang_up(channel);
        return;
    }
    for (ssize_t i = 0; i < got; i++) {
        if (channel->escapes && channel->escaped) {
            channel->escaped = false;
            escape_command(channel, bytes[i]);
        } else if (channel->escapes && bytes[i] == ESCAPE_KEY) {
            channel->escaped = true;
        } else {
            channel->input[channel->input_end++] = bytes[i];
        }
    }
    deliver(channel);
}

/* -- Event loop -- */

static void input_ready(void *opaque, int fd, short events)
{
    read_input(opaque);
}

static void output_ready(void *opaque, int fd, short events)
{
    struct channel *channel = opaque;
    flush_output(channel);
    update_watches(channel);
}

/* A socket is one descriptor for both directions: the loop watches each descriptor once. */
static void socket_ready(void *opaque, int fd, short events)
{
    struct channel *channel = opaque;
    if (events & (POLLOUT | POLLHUP | POLLERR))
        flush_output(channel);
    if (channel->in_watched && events & (POLLIN | POLLHUP | POLLERR))
        read_input(channel); /* else input[] still holds what the device did not take */
    if (channel->in >= 0)
        update_watches(channel);
}

static void update_watches(struct channel *channel)
{
    bool want_in = channel->in >= 0 && channel->input_end == 0;
    bool want_out = channel->out >= 0 && channel->output_count > 0;
    if (want_in == channel->in_watched && want_out == channel->out_watched)
        return;
    if (channel->in >= 0 && channel->in == channel->out) {
        loop_unwatch(channel->loop, channel->in);
        short events = (short)((want_in ? POLLIN : 0) | (want_out ? POLLOUT : 0));
        if (events)
            loop_watch(channel->loop, channel->in, events, socket_ready, channel);
    } else {
        if (channel->in_watched && !want_in)
            loop_unwatch(channel->loop, channel->in);
        if (!channel->in_watched && want_in)
            loop_watch(channel->loop, channel->in, POLLIN, input_ready, channel);
        if (channel->out_watched && !want_out)
            loop_unwatch(channel->loop, channel->out);
        if (!channel->out_watched && want_out)
            loop_watch(channel->loop, channel->out, POLLOUT, output_ready, channel);
    }
    channel->in_watched = want_in;
    channel->out_watched = want_out;
}

/* The other end is gone: a socket waits for the next client; a file or terminal has no more input.
 */
static void hang_up(struct channel *channel)
{
    if (channel->in_watched || (channel->out_watched && channel->in == channel->out))
        loop_unwatch(channel->loop, channel->in);
    channel->in_watched = false;
    if (channel->listener >= 0) {
        channel->out_watched = false;
        close(channel->in);
        channel->out = -1;
        channel->output_count = 0;
    }
    channel->in = -1;
}

static void client_ready(void *opaque, int fd, short events)
{
    struct channel *channel = opaque;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0)
        return;
    if (channel->in >= 0) { /* one client at a time */
        close(client);
        return;
    }
    channel->in = channel->out = client;
    update_watches(channel);
}

/* -- Opening each kind -- */

/* Standard output opened once more, so that it does not block us, but still whoever shares it. A
 * file needs none of that, and a socket cannot be opened again. */
static int open_stdout_again(void)
{
    struct stat status;
    if (fstat(STDOUT_FILENO, &status) < 0 ||
        (!S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode)))
        return STDOUT_FILENO;
    int fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return fd >= 0 ? fd : STDOUT_FILENO;
}

static bool open_stdio(struct channel *channel, struct error *error)
{
    channel->in = STDIN_FILENO;
    channel->out = open_stdout_again();
    if (tcgetattr(channel->in, &channel->saved) < 0)
        return true; /* a pipe or a file: bytes pass as they are */
    channel->terminal = channel->escapes = true;
    struct termios raw = channel->saved;
    raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    raw.c_oflag |= OPOST; /* our own messages stay readable */
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(channel->in, TCSANOW, &raw);
    return true;
}

static bool open_file(struct channel *channel, const char *path, struct error *error)
{
    channel->out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return channel->out >= 0 ||
           error_set(error, "--serial: cannot write '%s': %s", path, strerror(errno));
}

static bool start_listening(struct channel *channel, const char *name, struct error *error)
{
    if (listen(channel->listener, 1) < 0)
        return error_set(error, "--serial: cannot listen at '%s': %s", name, strerror(errno));
    loop_watch(channel->loop, channel->listener, POLLIN, client_ready, channel);
    return true;
}

static bool is_listening(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool listening =
        fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
                    errno == EAGAIN /* its queue is full */);
    if (fd >= 0)
        close(fd);
    return listening;
}

static bool open_unix(struct channel *channel, const char *path, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(error, "--serial: the socket path '%s' is too long", path);
    strcpy(address.sun_path, path);
    if (is_listening(&address))
        return error_set(error, "--serial: the socket '%s' is in use by another program", path);
    struct stat status;
    if (stat(path, &status) == 0 && S_ISSOCK(status.st_mode))
        unlink(path); /* left by an earlier run */
    channel->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (channel->listener < 0 ||
        bind(channel->listener, (struct sockaddr *)&address, sizeof address) < 0)
        return error_set(error, "--serial: cannot make the socket '%s': %s", path, strerror(errno));
    channel->unlink_path = strdup(path);
    return start_listening(channel, path, error);
}

static bool open_tcp(struct channel *channel, const char *text, struct error *error)
{
    char host[256];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host || !colon[1])
        return error_set(error, "--serial: 'tcp:%s' should read tcp:HOST:PORT", text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    int status = getaddrinfo(host[0] ? host : "127.0.0.1", colon + 1, &hints, &found);
    if (status != 0)
        return error_set(error, "--serial: cannot use '%s': %s", text, gai_strerror(status));
    int one = 1;
    channel->listener = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (channel->listener >= 0)
        setsockopt(channel->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bool bound =
        channel->listener >= 0 && bind(channel->listener, found->ai_addr, found->ai_addrlen) == 0;
    int reason = errno;
    freeaddrinfo(found);
    if (!bound)
        return error_set(error, "--serial: cannot listen at '%s': %s", text, strerror(reason));
    return start_listening(channel, text, error);
}

static bool open_where(struct channel *channel, const char *where, struct error *error)
{
    if (strcmp(where, "stdio") == 0)
        return open_stdio(channel, error);
    if (strcmp(where, "null") == 0)
        return true;
    if (strncmp(where, "file:", 5) == 0 && where[5])
        return open_file(channel, where + 5, error);
    if (strncmp(where, "unix:", 5) == 0 && where[5])
        return open_unix(channel, where + 5, error);
    if (strncmp(where, "tcp:", 4) == 0)
        return open_tcp(channel, where + 4, error);
    return error_set(error,
                     "--serial: '%s' is unknown; use stdio, null, file:PATH, unix:PATH or "
                     "tcp:HOST:PORT",
                     where);
}

struct channel *channel_open(const char *where, struct byte_port *port, struct loop *loop,
                             const struct channel_keys *keys, struct error *error)
{
    struct channel *channel = calloc(1, sizeof *channel);
    if (!channel || !(channel->output = malloc(OUTPUT_SIZE)))
        abort();
    channel->port = port;
    channel->loop = loop;
    channel->keys = *keys;
    channel->in = channel->out = channel->listener = -1;
    if (!open_where(channel, where, error)) {
        channel_close(channel);
        return NULL;
    }
    port->send = send_bytes;
    port->outside = channel;
    port->writable = device_writable;
    update_watches(channel);
    return channel;
}

/* Lets the reader have the rest, if it reads at all. */
static void flush_last(struct channel *channel)
{
    struct pollfd writable = {.fd = channel->out, .events = POLLOUT};
    flush_output(channel);
    while (channel->out >= 0 && channel->output_count > 0 && poll(&writable, 1, CLOSE_MS) > 0)
        flush_output(channel);
}

void channel_close(struct channel *channel)
{
    if (!channel)
        return;
    flush_last(channel);
    if (channel->port->outside == channel) {
        channel->port->send = NULL;
        channel->port->writable = NULL;
        channel->port->outside = NULL;
    }
    if (channel->in_watched || (channel->out_watched && channel->in == channel->out))
        loop_unwatch(channel->loop, channel->in);
    else if (channel->out_watched)
        loop_unwatch(channel->loop, channel->out);
    if (channel->terminal)
        tcsetattr(STDIN_FILENO, TCSANOW, &channel->saved);
    if (channel->listener >= 0) {
        loop_unwatch(channel->loop, channel->listener);
        close(channel->listener);
    }
    if (channel->in > STDERR_FILENO)
        close(channel->in);
    if (channel->out > STDERR_FILENO && channel->out != channel->in)
        close(channel->out);
    if (channel->unlink_path) {
        unlink(channel->unlink_path);
        free(channel->unlink_path);
    }
    free(channel->output);
    free(channel);
}
