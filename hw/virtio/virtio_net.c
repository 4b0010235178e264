/*
 * Virtio network device (Virtio 1.1, 5.1): features, configuration, control queue. Frames from the
 * guest are in virtio_net_tx.c, frames to it in virtio_net_rx.c.
 *
 *     queues   receive 1, transmit 1, ... receive N, transmit N, control
 *
 * Not modelled: UDP fragmentation offload, receive side scaling (2.0), standby.
 */
#include "hw/alloc.h"
#include "hw/virtio/virtio_net_internal.h"

#define QUEUE_SIZE         256
#define CONTROL_QUEUE_SIZE 64
#define COMMAND_MAX        (2 + 8 + 2 * (4 + 6 * 1024)) /* two address tables */

/* Configuration (5.1.4). */
enum { CONFIG_MAC = 0, CONFIG_STATUS = 6, CONFIG_PAIRS = 8, CONFIG_SIZE = 10 };
enum { STATUS_LINK_UP = 1, STATUS_ANNOUNCE = 2 };

static const struct field address_table_fields[] = {
    {"address", offsetof(struct address_table, address), 1, FILTER_ADDRESSES * 6, NULL, 1, false},
    FIELD(struct address_table, count, 1),
    FIELD(struct address_table, overflow, 1),
    FIELD_END,
};

static const struct field coalesced_fields[] = {
    FIELD(struct coalesced, length, 1),        FIELD(struct coalesced, header, 1),
    FIELD(struct coalesced, segment, 1),       FIELD(struct coalesced, segments, 1),
    FIELD(struct coalesced, next_sequence, 1), FIELD(struct coalesced, closed, 1),
    FIELD_ARRAY(struct coalesced, frame, 1),   FIELD_END,
};

static const struct field virtio_net_fields[] = {
    FIELD_STRUCT(struct virtio_net, virtio, virtio_fields, 1),
    FIELD(struct virtio_net, promiscuous, 1),
    FIELD(struct virtio_net, all_multicast, 1),
    FIELD(struct virtio_net, all_unicast, 1),
    FIELD(struct virtio_net, no_multicast, 1),
    FIELD(struct virtio_net, no_unicast, 1),
    FIELD(struct virtio_net, no_broadcast, 1),
    FIELD_STRUCT(struct virtio_net, unicast, address_table_fields, 1),
    FIELD_STRUCT(struct virtio_net, multicast, address_table_fields, 1),
    FIELD_ARRAY(struct virtio_net, vlan, 1),
    FIELD(struct virtio_net, active_pairs, 1),
    FIELD(struct virtio_net, offloads, 1),
    FIELD(struct virtio_net, announce, 1),
    FIELD_STRUCT(struct virtio_net, held, coalesced_fields, 1),
    FIELD_END,
};

/* -- Configuration -- */

static void refresh_status(struct virtio_net *net)
{
    uint16_t status = (uint16_t)((net->port->link_up ? STATUS_LINK_UP : 0) |
                                 (net->announce ? STATUS_ANNOUNCE : 0));
    virtio_put(net->virtio.config + CONFIG_STATUS, status, 2);
}

static void config_reading(struct virtio *virtio)
{
    refresh_status((struct virtio_net *)virtio);
}

void virtio_net_link_changed(struct virtio_net *net)
{
    refresh_status(net);
    virtio_config_changed(&net->virtio);
}

/* -- Control queue (5.1.6.5) -- */

/* A command's data, and whether it was well-formed. */
struct command {
    const uint8_t *data;
    size_t length;
};

#define SWITCH_COMMAND(member)                                                                     \
    static bool set_##member(struct virtio_net *net, const struct command *command)                \
    {                                                                                              \
        if (command->length != 1)                                                                  \
            return false;                                                                          \
        net->member = command->data[0] != 0;                                                       \
        return true;                                                                               \
    }
SWITCH_COMMAND(promiscuous)
SWITCH_COMMAND(all_multicast)
SWITCH_COMMAND(all_unicast)
SWITCH_COMMAND(no_multicast)
SWITCH_COMMAND(no_unicast)
SWITCH_COMMAND(no_broadcast)

/* Takes one table off the command's data. */
static bool take_table(struct command *command, struct address_table *table)
{
    if (command->length < 4)
        return false;
    uint32_t count = virtio_le32(command->data);
    if (count > (command->length - 4) / 6)
        return false;
    table->overflow = count > FILTER_ADDRESSES;
    table->count = table->overflow ? 0 : count;
    memcpy(table->address, command->data + 4, 6 * table->count);
    command->data += 4 + 6 * (size_t)count;
    command->length -= 4 + 6 * (size_t)count;
    return true;
}

static bool set_tables(struct virtio_net *net, const struct command *command)
{
    struct command rest = *command;
    struct address_table unicast = {0}, multicast = {0};
    if (!take_table(&rest, &unicast) || !take_table(&rest, &multicast) || rest.length)
        return false;
    net->unicast = unicast;
    net->multicast = multicast;
    return true;
}

static bool set_mac(struct virtio_net *net, const struct command *command)
{
    if (command->length != 6)
        return false;
    memcpy(net->virtio.config + CONFIG_MAC, command->data, 6);
    return true;
}

static bool set_vlan(struct virtio_net *net, const struct command *command, bool on)
{
    if (command->length != 2)
        return false;
    unsigned id = virtio_le16(command->data);
    if (id >= 4096)
        return false;
    uint8_t bit = (uint8_t)(1 << id % 8);
    net->vlan[id / 8] = (uint8_t)(on ? net->vlan[id / 8] | bit : net->vlan[id / 8] & ~bit);
    return true;
}

static bool add_vlan(struct virtio_net *net, const struct command *command)
{
    return set_vlan(net, command, true);
}

static bool remove_vlan(struct virtio_net *net, const struct command *command)
{
    return set_vlan(net, command, false);
}

static bool acknowledge_announce(struct virtio_net *net, const struct command *command)
{
    bool was = net->announce;
    net->announce = false;
    refresh_status(net);
    return was;
}

static bool set_pairs(struct virtio_net *net, const struct command *command)
{
    if (command->length != 2)
        return false;
    uint16_t pairs = virtio_le16(command->data);
    if (!pairs || pairs > net->pairs)
        return false;
    net->active_pairs = pairs;
    return true;
}

static uint64_t guest_offloads(const struct virtio_net *net)
{
    return net->virtio.driver_features & (F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6);
}

static bool set_offloads(struct virtio_net *net, const struct command *command)
{
    if (command->length != 8)
        return false;
    uint64_t wanted = virtio_le64(command->data);
    if (wanted & ~guest_offloads(net))
        return false;
    net->offloads = wanted;
    return true;
}

static const struct {
    uint8_t class, code;
    uint64_t feature;
    bool (*run)(struct virtio_net *net, const struct command *command);
} commands[] = {
    {0, 0, F_CTRL_RX, set_promiscuous},
    {0, 1, F_CTRL_RX, set_all_multicast},
    {0, 2, F_CTRL_RX_EXTRA, set_all_unicast},
    {0, 3, F_CTRL_RX_EXTRA, set_no_multicast},
    {0, 4, F_CTRL_RX_EXTRA, set_no_unicast},
    {0, 5, F_CTRL_RX_EXTRA, set_no_broadcast},
    {1, 0, F_CTRL_RX, set_tables},
    {1, 1, F_CTRL_MAC_ADDR, set_mac},
    {2, 0, F_CTRL_VLAN, add_vlan},
    {2, 1, F_CTRL_VLAN, remove_vlan},
    {3, 0, F_GUEST_ANNOUNCE, acknowledge_announce},
    {4, 0, F_MQ, set_pairs},
    {5, 0, F_GUEST_OFFLOADS, set_offloads},
};

static bool run_command(struct virtio_net *net, struct virtio_chain *chain)
{
    uint8_t bytes[COMMAND_MAX];
    size_t length = virtio_read(chain, 0, bytes, sizeof bytes);
    if (length < 2 || length < chain->out_bytes)
        return false;
    const struct command command = {bytes + 2, length - 2};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (commands[i].class == bytes[0] && commands[i].code == bytes[1] &&
            virtio_has(&net->virtio, commands[i].feature))
            return commands[i].run(net, &command);
    log_guest("virtio-net: control command %u.%u", bytes[0], bytes[1]);
    return false;
}

static void serve_control(struct virtio_net *net, struct virtqueue *queue)
{
    enum { ACK_OK = 0, ACK_ERROR = 1 };
    do {
        struct virtio_chain *chain;
        while ((chain = virtqueue_pop(queue)) != NULL) {
            uint8_t ack = run_command(net, chain) ? ACK_OK : ACK_ERROR;
            virtqueue_push(chain, virtio_write(chain, 0, &ack, 1));
        }
        virtqueue_notify(queue);
    } while (virtqueue_ask(queue));
}

/* -- The worker -- */

/* Receive buffers have appeared: what waits for them. */
static void offer_buffers(struct virtio_net *net)
{
    if (!net->starving || !virtio_net_can_receive(net))
        return;
    net->starving = false;
    if (virtio_net_flush(net) && net->port->writable)
        net->port->writable(net->port->network);
}

/* Without MQ the control queue is the third. */
static unsigned control_queue(const struct virtio_net *net)
{
    return virtio_has(&net->virtio, F_MQ) ? 2 * net->pairs : 2;
}

static void work(void *opaque)
{
    struct virtio_net *net = opaque;
    for (unsigned i = 0; i < net->virtio.queues; i++) {
        struct virtqueue *queue = &net->virtio.queue[i];
        if (!queue->kicked)
            continue;
        queue->kicked = false;
        if (i == control_queue(net))
            serve_control(net, queue);
        else if (i % 2)
            virtio_net_transmit(net, queue);
        else
            offer_buffers(net);
    }
}

/* -- Life -- */

static void net_started(struct virtio *virtio)
{
    struct virtio_net *net = (struct virtio_net *)virtio;
    net->offloads = guest_offloads(net);
    net->starving = true; /* the network may have frames that wait */
}

static void net_reset(struct virtio *virtio)
{
    struct virtio_net *net = (struct virtio_net *)virtio;
    net->promiscuous = true; /* until the driver says otherwise */
    net->all_multicast = net->all_unicast = false;
    net->no_multicast = net->no_unicast = net->no_broadcast = false;
    net->unicast = net->multicast = (struct address_table){0};
    memset(net->vlan, 0, sizeof net->vlan);
    net->active_pairs = 1;
    net->offloads = 0;
    net->announce = net->starving = false;
    net->held.length = 0;
    timer_cancel(&net->flush_timer);
}

static bool net_post_load(struct virtio *virtio, struct error *error)
{
    struct virtio_net *net = (struct virtio_net *)virtio;
    const struct coalesced *held = &net->held;
    if (net->unicast.count > FILTER_ADDRESSES || net->multicast.count > FILTER_ADDRESSES ||
        !net->active_pairs || net->active_pairs > net->pairs || held->length > FRAME_MAX ||
        held->header > held->length || (held->length && held->header < 54) ||
        (net->offloads & ~guest_offloads(net)))
        return error_set(error, "The saved state of network card '%s' is damaged",
                         virtio->pci.device.id);
    net->starving = true;
    if (held->length)
        timer_set(&net->flush_timer, 0);
    return true;
}

static void virtio_net_destroy(struct device *device)
{
    struct virtio_net *net = (struct virtio_net *)device;
    virtio_fini(&net->virtio);
    timer_cancel(&net->flush_timer);
    free(net);
}

static const struct device_ops virtio_net_device_ops = {
    .name = "virtio-net",
    .fields = virtio_net_fields,
    .version = 1,
    .reset = virtio_device_reset,
    .post_load = virtio_device_post_load,
    .destroy = virtio_net_destroy,
};

static const struct virtio_ops virtio_net_ops = {
    .type = VIRTIO_NET,
    .class_code = 0x0200,
    .kick = virtio_wake_worker,
    .reset = net_reset,
    .started = net_started,
    .config_reading = config_reading,
    .post_load = net_post_load,
};

struct virtio_net *virtio_net_new(const struct virtio_place *place, struct memory *memory,
                                  struct clock *clock, const uint8_t mac[6],
                                  struct packet_port *port, unsigned pairs)
{
    struct virtio_net *net = alloc_zeroed(sizeof *net);
    uint64_t features = F_CSUM | F_GUEST_CSUM | F_GUEST_OFFLOADS | F_MAC | F_GUEST_TSO4 |
                        F_GUEST_TSO6 | F_HOST_TSO4 | F_HOST_TSO6 | F_HOST_ECN | F_MRG_RXBUF |
                        F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_CTRL_VLAN | F_CTRL_RX_EXTRA |
                        F_GUEST_ANNOUNCE | F_CTRL_MAC_ADDR;
    net->port = port;
    timer_init(&net->flush_timer, clock, virtio_net_flush_due, net);
    net->pairs = pairs < VIRTIO_NET_PAIRS_MAX ? pairs : VIRTIO_NET_PAIRS_MAX;
    if (net->pairs > 1)
        features |= F_MQ;
    virtio_init(&net->virtio, place, memory, &virtio_net_device_ops, &virtio_net_ops, features,
                sizeof(struct virtio_chain), work);
    for (unsigned i = 0; i < 2 * net->pairs; i++)
        virtio_add_queue(&net->virtio, QUEUE_SIZE);
    virtio_add_queue(&net->virtio, CONTROL_QUEUE_SIZE);

    uint8_t config[CONFIG_SIZE] = {0};
    memcpy(config + CONFIG_MAC, mac, 6);
    virtio_put(config + CONFIG_PAIRS, net->pairs, 2);
    virtio_set_config(&net->virtio, config, sizeof config);
    memset(net->virtio.config_mask + CONFIG_MAC, 0xff, 6); /* legacy drivers write it (5.1.4.1) */
    net_reset(&net->virtio);
    port->receive = virtio_net_receive;
    port->can_receive = virtio_net_can_receive;
    port->nic = net;
    return net;
}
