/*
 * A bench for network cards: a PCI bench, a network that keeps what the card sends and can hold
 * frames that the card refuses, a clock moved by hand.
 */
#ifndef DOPPEL_TESTS_HW_NIC_BENCH_H
#define DOPPEL_TESTS_HW_NIC_BENCH_H

#include "hw/network/checksum.h"
#include "hw/network/ethernet.h"
#include "hw/port.h"
#include "tests/hw/pci_bench.h"

#define NIC_DEVFN     0x18
#define NIC_IO        0xc000
#define NIC_MMIO      0xf0000000u
#define NIC_FRAMES    64
#define NIC_FRAME_MAX 5000

static const uint8_t nic_mac[6] = {0x02, 0x64, 0x6f, 0x70, 0x00, 0x01};

struct nic_bench {
    struct pci_bench pci;
    struct packet_port port;
    uint8_t sent[NIC_FRAMES][NIC_FRAME_MAX]; /* the last ones */
    size_t sent_length[NIC_FRAMES];
    unsigned sent_count;
    uint8_t held[NIC_FRAME_MAX]; /* a frame that was refused, offered by writable */
    size_t held_length;
};

static struct nic_bench nic_bench;

static void nic_bench_send(void *network, const uint8_t *frame, size_t length)
{
    struct nic_bench *bench = network;
    unsigned place = bench->sent_count++ % NIC_FRAMES;
    ck_assert_uint_le(length, NIC_FRAME_MAX);
    memcpy(bench->sent[place], frame, length);
    bench->sent_length[place] = length;
}

static void nic_bench_writable(void *network)
{
    struct nic_bench *bench = network;
    size_t length = bench->held_length;
    bench->held_length = 0;
    if (length && !bench->port.receive(bench->port.nic, bench->held, length))
        bench->held_length = length;
}

static inline void nic_bench_build(struct nic_bench *bench)
{
    memset(bench, 0, sizeof *bench);
    pci_bench_build(&bench->pci);
    bench->port.send = nic_bench_send;
    bench->port.writable = nic_bench_writable;
    bench->port.network = bench;
    bench->port.link_up = true;
}

/* Programs the BARs (those that there are) and allows everything. */
static inline void nic_bench_start(struct nic_bench *bench)
{
    pci_config_write(bench->pci.pci, NIC_DEVFN, PCI_BAR0, NIC_IO, 4);
    pci_config_write(bench->pci.pci, NIC_DEVFN, PCI_BAR0 + 4, NIC_MMIO, 4);
    pci_config_write(bench->pci.pci, NIC_DEVFN, PCI_COMMAND,
                     PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

/* True: the card took it. What it refuses is offered again when it says so. */
static inline bool nic_bench_receive(struct nic_bench *bench, const uint8_t *frame, size_t length)
{
    if (bench->port.receive(bench->port.nic, frame, length))
        return true;
    memcpy(bench->held, frame, length);
    bench->held_length = length;
    return false;
}

static inline void nic_bench_tick(struct nic_bench *bench, uint64_t ns)
{
    clock_set(bench->pci.clock, clock_now(bench->pci.clock) + ns);
    clock_fire_due(bench->pci.clock);
}

static inline uint32_t nic_in(unsigned reg, unsigned size)
{
    return io_bus_read(nic_bench.pci.io, (uint16_t)(NIC_IO + reg), size);
}

static inline void nic_out(unsigned reg, uint32_t value, unsigned size)
{
    io_bus_write(nic_bench.pci.io, (uint16_t)(NIC_IO + reg), value, size);
}

static inline void nic_poke(uint64_t address, const void *data, size_t length)
{
    ck_assert(memory_dma_write(nic_bench.pci.memory, address, data, length));
}

static inline void nic_peek(uint64_t address, void *data, size_t length)
{
    ck_assert(memory_dma_read(nic_bench.pci.memory, address, data, length));
}

/* Deterministic noise for hostile sequences. */
static inline uint32_t nic_noise(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 32);
}

/* A frame to `to` of `length` bytes, every byte known. */
static inline void nic_make_frame(uint8_t *frame, const uint8_t to[6], size_t length, unsigned seed)
{
    for (size_t i = 0; i < length; i++)
        frame[i] = (uint8_t)(i * 3 + seed);
    memcpy(frame, to, 6);
    store16(frame + 12, 0x88b5); /* a local experiment */
}

/* An IPv4 TCP frame with `payload` bytes behind its headers of 54, without any checksum. */
static inline size_t nic_make_tcp(uint8_t *frame, size_t payload)
{
    nic_make_frame(frame, nic_mac, 54 + payload, 9);
    memset(frame + 14, 0, 40);
    store16(frame + 12, ETHERTYPE_IPV4);
    uint8_t *ip = frame + 14, *tcp = frame + 34;
    ip[0] = 0x45;
    store16(ip + 2, (uint32_t)(40 + payload));
    store16(ip + 4, 0xfffe);
    ip[8] = 64;
    ip[9] = PROTOCOL_TCP;
    store32(ip + 12, 0x0a00020f);
    store32(ip + 16, 0x0a000202);
    store32(tcp + 4, 0x0001fff0);
    tcp[12] = 0x50;
    tcp[13] = 0x19; /* FIN, PSH, ACK */
    return 54 + payload;
}

#endif
