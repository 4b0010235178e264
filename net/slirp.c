/*
 * User-mode NAT: libslirp ends the guest's TCP and UDP and makes connections of its own, with the
 * rights of the user who runs doppel and nothing to set up on the host.
 *
 *     guest 10.0.2.15 (by DHCP) -- 10.0.2.2 the host, gateway, TFTP -- 10.0.2.3 the host's DNS
 *
 * libslirp has no thread: it runs when the guest sends (slirp_input, on the CPU's thread) and when
 * the event loop polls its sockets. Its time is the machine's: while the machine stands, sockets
 * are not polled and nothing reaches the guest.
 *
 * Frames that the NIC has no buffer for wait in a bounded queue; beyond that they are lost, as on a
 * wire. Not built: IPv6, SMB, saving of connections (they end when a state is loaded).
 */
#include "net/internal.h"

#include "cpu/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libslirp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define QUEUE_FRAMES 256
#define FRAME_MAX    (14 + 65535) /* libslirp has no limit of its own towards the host */

struct queued_frame {
    struct queued_frame *next;
    size_t length;
    uint8_t bytes[];
};

struct net_user {
    Slirp *slirp;
    struct loop *loop;
    struct clock *clock;
    struct packet_port *port;
    struct reassembler *reassembler;
    bool polling; /* this turn's poll set holds our sockets */
    struct queued_frame *first, **last;
    unsigned queued;
};

/* A timer that libslirp asked for. */
struct slirp_timer {
    struct timer timer;
    struct net_user *user;
    SlirpTimerId id;
    void *opaque;
};

/* -- Frames -- */

/* NIC -> slirp. */
static void user_send(void *network, const uint8_t *frame, size_t length)
{
    struct net_user *user = network;
    frame = reassemble(user->reassembler, frame, &length);
    if (!frame)
        return;
    slirp_input(user->slirp, frame, (int)length);
    loop_wake(user->loop); /* to poll sockets that this made */
}

static void drop_first(struct net_user *user)
{
    struct queued_frame *frame = user->first;
    user->first = frame->next;
    if (!user->first)
        user->last = &user->first;
    user->queued--;
    free(frame);
}

/* The NIC has receive buffers again. */
static void user_writable(void *network)
{
    struct net_user *user = network;
    struct packet_port *port = user->port;
    while (user->first && port->receive(port->nic, user->first->bytes, user->first->length))
        drop_first(user);
}

static void enqueue(struct net_user *user, const uint8_t *bytes, size_t length)
{
    if (user->queued == QUEUE_FRAMES)
        return;
    struct queued_frame *frame = malloc(sizeof *frame + length);
    if (!frame)
        return;
    frame->next = NULL;
    frame->length = length;
    memcpy(frame->bytes, bytes, length);
    *user->last = frame;
    user->last = &frame->next;
    user->queued++;
}

/* slirp -> NIC. */
static ssize_t send_packet(const void *bytes, size_t length, void *opaque)
{
    struct net_user *user = opaque;
    struct packet_port *port = user->port;
    if (!port->link_up || !port->receive)
        return (ssize_t)length;
    if (user->first || !port->receive(port->nic, bytes, length))
        enqueue(user, bytes, length);
    return (ssize_t)length;
}

/* -- What libslirp asks its host for -- */

static void guest_error(const char *message, void *opaque)
{
    log_guest("network: %s", message);
}

static int64_t get_clock(void *opaque)
{
    struct net_user *user = opaque;
    return (int64_t)clock_now(user->clock);
}

static void fire_timer(void *opaque)
{
    struct slirp_timer *timer = opaque;
    slirp_handle_timer(timer->user->slirp, timer->id, timer->opaque);
}

static void *new_timer(SlirpTimerId id, void *timer_opaque, void *opaque)
{
    struct net_user *user = opaque;
    struct slirp_timer *timer = calloc(1, sizeof *timer);
    if (!timer)
        abort(); /* libslirp has no answer to this either */
    timer->user = user;
    timer->id = id;
    timer->opaque = timer_opaque;
    timer_init(&timer->timer, user->clock, fire_timer, timer);
    return timer;
}

static void free_timer(void *opaque, void *user)
{
    struct slirp_timer *timer = opaque;
    timer_cancel(&timer->timer);
    free(timer);
}

static void set_timer(void *opaque, int64_t expire_ms, void *user)
{
    struct slirp_timer *timer = opaque;
    timer_set(&timer->timer, expire_ms > 0 ? (uint64_t)expire_ms * 1000000 : 0);
}

static void register_fd(int fd, void *opaque)
{
    /* All descriptors are named anew for each turn. */
}

static void notify(void *opaque)
{
    struct net_user *user = opaque;
    loop_wake(user->loop);
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = get_clock,
    .timer_free = free_timer,
    .timer_mod = set_timer,
    .register_poll_fd = register_fd,
    .unregister_poll_fd = register_fd,
    .notify = notify,
    .timer_new_opaque = new_timer,
};

/* -- Polling -- */

static const struct {
    int slirp;
    short poll;
} poll_bits[] = {
    {SLIRP_POLL_IN, POLLIN},   {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
    {SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

#define POLL_BITS (sizeof poll_bits / sizeof *poll_bits)

static int add_poll(int fd, int events, void *opaque)
{
    struct net_user *user = opaque;
    short wanted = 0;
    for (size_t i = 0; i < POLL_BITS; i++)
        if (events & poll_bits[i].slirp)
            wanted |= poll_bits[i].poll;
    return loop_poll_add(user->loop, fd, wanted);
}

static int get_events(int index, void *opaque)
{
    struct net_user *user = opaque;
    short ready = loop_poll_result(user->loop, index);
    int events = 0;
    for (size_t i = 0; i < POLL_BITS; i++)
        if (ready & poll_bits[i].poll)
            events |= poll_bits[i].slirp;
    return events;
}

static void prepare_turn(void *opaque, struct loop *loop, uint64_t *timeout_ns)
{
    struct net_user *user = opaque;
    uint64_t whole_ms = *timeout_ns / 1000000;
    uint32_t timeout_ms = whole_ms < UINT32_MAX ? (uint32_t)whole_ms : UINT32_MAX;
    uint32_t wanted_ms = timeout_ms;
    user->polling = user->slirp && clock_running(user->clock);
    if (!user->polling)
        return;
    slirp_pollfds_fill(user->slirp, &wanted_ms, add_poll, user);
    if (wanted_ms < timeout_ms)
        *timeout_ns = (uint64_t)wanted_ms * 1000000;
}

static void dispatch_turn(void *opaque, struct loop *loop)
{
    struct net_user *user = opaque;
    if (user->polling)
        slirp_pollfds_poll(user->slirp, 0, get_events, user);
    user->polling = false;
}

/* -- Construction -- */

static struct in_addr address(const char *text)
{
    struct in_addr result;
    inet_pton(AF_INET, text, &result);
    return result;
}

static bool add_forward(struct net_user *user, const struct net_forward *forward,
                        struct error *error)
{
    const char *protocol = forward->udp ? "UDP" : "TCP";
    struct in_addr guest = {0}; /* whoever got the first DHCP address */
    char host[INET_ADDRSTRLEN];
    if (slirp_add_hostfwd(user->slirp, forward->udp, forward->host_address, forward->host_port,
                          guest, forward->guest_port) == 0)
        return true;
    int reason = errno;
    inet_ntop(AF_INET, &forward->host_address, host, sizeof host);
    if (reason == EADDRINUSE)
        return error_set(error,
                         "%s port %u of %s is in use on the host and cannot be forwarded to the "
                         "guest; choose another host port in 'forward='",
                         protocol, forward->host_port, host);
    return error_set(error, "%s port %u of %s cannot be forwarded to the guest: %s", protocol,
                     forward->host_port, host, strerror(reason));
}

static bool check_folder(const char *path, struct error *error)
{
    struct stat status;
    if (stat(path, &status) < 0)
        return error_set(error, "--net user: cannot serve 'tftp=%s': %s", path, strerror(errno));
    return S_ISDIR(status.st_mode) || error_set(error, "--net user: 'tftp=%s' is no folder", path);
}

static void free_user(struct net_user *user)
{
    if (user->slirp)
        slirp_cleanup(user->slirp);
    while (user->first)
        drop_first(user);
    reassembler_free(user->reassembler);
    free(user);
}

struct net_user *net_user_new(struct loop *loop, struct clock *clock, struct packet_port *port,
                              const struct net_user_options *options, struct error *error)
{
    SlirpConfig config = {
        .version = 4,
        .restricted = options->restricted,
        .in_enabled = true,
        .vnetwork = address("10.0.2.0"),
        .vnetmask = address("255.255.255.0"),
        .vhost = address("10.0.2.2"),
        .vdhcp_start = address("10.0.2.15"),
        .vnameserver = address("10.0.2.3"),
        .vhostname = "doppel",
        .tftp_path = options->tftp[0] ? options->tftp : NULL,
        .bootfile = options->boot_file[0] ? options->boot_file : NULL,
    };
    if (options->tftp[0] && !check_folder(options->tftp, error))
        return NULL;
    struct net_user *user = calloc(1, sizeof *user);
    if (user)
        user->reassembler = reassembler_new(clock);
    if (!user || !user->reassembler) {
        free(user);
        error_set(error, "Out of memory");
        return NULL;
    }
    user->loop = loop;
    user->clock = clock;
    user->port = port;
    user->last = &user->first;
    user->slirp = slirp_new(&config, &callbacks, user);
    bool ok = user->slirp || error_set(error, "libslirp %s does not start", slirp_version_string());
    for (unsigned i = 0; ok && i < options->forwards; i++)
        ok = add_forward(user, &options->forward[i], error);
    if (!ok) {
        free_user(user);
        return NULL;
    }
    port->send = user_send;
    port->writable = user_writable;
    port->network = user;
    port->send_max = FRAME_MAX;
    port->link_up = true;
    loop_add_source(loop, &(struct loop_source){prepare_turn, dispatch_turn, user});
    return user;
}

void net_user_free(struct net_user *user)
{
    user->port->send = NULL;
    user->port->send_max = 0;
    user->port->writable = NULL;
    user->port->network = NULL;
    user->port->link_up = false;
    free_user(user);
}
