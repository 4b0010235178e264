/*
 * 82540EM through its registers and rings, as a driver uses it, and as a hostile one does.
 */
#include "hw/network/e1000.h"
#include "hw/network/e1000_regs.h"
#include "hw/state.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define MMIO       0xf0000000u
#define IO_BASE    0xc000
#define DEVFN      0x18
#define TX_RING    0x1000u
#define RX_RING    0x2000u
#define RING       8u /* descriptors */
#define RX_BUFFERS 0x10000u
#define TX_DATA    0x40000u

static const uint8_t mac[6] = {0x02, 0x64, 0x6f, 0x70, 0x00, 0x01};

struct board {
    struct device_list devices;
    struct io_bus *io;
    struct memory *memory;
    struct clock *clock;
    struct pci_bus *pci;
    struct e1000 *nic;
    struct packet_port port;
    bool irq;
};

static struct board board;
static uint8_t sent[4096][1700];
static size_t sent_length[4096];
static unsigned sent_count, writable_count;

static void set_irq(void *opaque, int number, bool level)
{
    ((struct board *)opaque)->irq = level;
}

static void network_send(void *network, const uint8_t *frame, size_t length)
{
    if (sent_count < 4096) {
        memcpy(sent[sent_count], frame, length < 1700 ? length : 1700);
        sent_length[sent_count] = length;
    }
    sent_count++;
}

static void network_writable(void *network)
{
    writable_count++;
}

static uint32_t read_reg(enum e1000_reg reg)
{
    return (uint32_t)memory_mmio_read(board.memory, MMIO + 4 * reg, 4);
}

static void write_reg(enum e1000_reg reg, uint32_t value)
{
    memory_mmio_write(board.memory, MMIO + 4 * reg, value, 4);
}

static void config_write(unsigned offset, uint32_t value)
{
    io_bus_write(board.io, 0xcf8, 0x80000000u | DEVFN << 8 | offset, 4);
    io_bus_write(board.io, 0xcfc, value, 4);
}

static void poke(uint64_t address, const void *data, size_t length)
{
    ck_assert(memory_dma_write(board.memory, address, data, length));
}

static void peek(uint64_t address, void *data, size_t length)
{
    ck_assert(memory_dma_read(board.memory, address, data, length));
}

static void build(struct board *b)
{
    struct irq_line irq[4];
    memset(b, 0, sizeof *b);
    for (int i = 0; i < 4; i++)
        irq[i] = (struct irq_line){set_irq, b, i};
    device_list_init(&b->devices);
    b->io = io_bus_new();
    b->memory = memory_new(1 << 20, NULL);
    b->clock = clock_new();
    b->pci = pci_bus_new(&b->devices, b->io, b->memory, irq);
    b->nic = e1000_new(&b->devices, b->pci, DEVFN, b->clock, mac, &b->port, "nic0");
    b->port.send = network_send;
    b->port.writable = network_writable;
    b->port.link_up = true;
    device_list_reset(&b->devices);
}

static void tear_down(struct board *b)
{
    device_list_destroy(&b->devices);
    clock_free(b->clock);
    memory_free(b->memory);
    io_bus_free(b->io);
}

static void setup(void)
{
    build(&board);
    config_write(0x10, MMIO);
    config_write(0x14, IO_BASE);
    config_write(0x04, 0x0007);
    sent_count = writable_count = 0;
}

static void teardown(void)
{
    tear_down(&board);
}

/* Rings, buffers, both units on, all interrupts of interest on. */
static void start_driver(void)
{
    for (uint64_t i = 0; i < RING; i++) {
        uint64_t descriptor[2] = {RX_BUFFERS + 2048 * i, 0};
        poke(RX_RING + 16 * i, descriptor, 16);
    }
    write_reg(TDBAL, TX_RING);
    write_reg(TDLEN, RING * 16);
    write_reg(RDBAL, RX_RING);
    write_reg(RDLEN, RING * 16);
    write_reg(RDT, RING - 1);
    write_reg(TCTL, TCTL_EN | TCTL_PSP);
    write_reg(RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC);
    write_reg(IMS, ICR_TXDW | ICR_RXT0 | ICR_RXO);
    read_reg(ICR);
}

static void tick(uint64_t ns)
{
    clock_set(board.clock, clock_now(board.clock) + ns);
    clock_fire_due(board.clock);
}

/* -- Transmit descriptors -- */

static void put_descriptor(uint64_t low, uint32_t middle, uint32_t high)
{
    uint64_t words[2] = {low, middle | (uint64_t)high << 32};
    uint32_t tail = read_reg(TDT);
    poke(TX_RING + 16 * tail, words, 16);
    write_reg(TDT, (tail + 1) % RING);
}

static void put_legacy(uint32_t address, uint32_t length, uint8_t command, uint8_t cso, uint8_t css)
{
    put_descriptor(address, length | (uint32_t)cso << 16 | (uint32_t)command << 24,
                   (uint32_t)css << 8);
}

static void put_context(uint8_t command, uint8_t header, uint16_t mss, uint32_t payload)
{
    const uint64_t low = 14 | 24ull << 8 | 33ull << 16 | 34ull << 32 | 50ull << 40;
    put_descriptor(low, payload | (uint32_t)(command | TXD_CMD_DEXT) << 24,
                   (uint32_t)header << 8 | (uint32_t)mss << 16);
}

static void put_data(uint32_t address, uint32_t length, uint8_t command, uint8_t options)
{
    put_descriptor(address, length | 1u << 20 | (uint32_t)(command | TXD_CMD_DEXT) << 24,
                   (uint32_t)options << 8);
}

/* -- Frames -- */

static unsigned get16(const uint8_t *from)
{
    return (unsigned)from[0] << 8 | from[1];
}

static void put16(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

static uint16_t fold(const uint8_t *data, size_t length, uint32_t sum)
{
    for (size_t i = 0; i < length; i++)
        sum += i & 1 ? data[i] : (uint32_t)data[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static uint32_t pseudo_sum(const uint8_t *ip, unsigned length)
{
    return fold(ip + 12, 8, ip[9] + length);
}

/* Ethernet, IPv4 and TCP headers (54 bytes), payload of `payload` bytes; checksums right. */
static size_t make_tcp(uint8_t *frame, size_t payload)
{
    memset(frame, 0, 54 + payload);
    memcpy(frame, mac, 6);
    memcpy(frame + 6, "\x52\x55\x0a\0\2\2", 6);
    put16(frame + 12, 0x0800);
    uint8_t *ip = frame + 14, *tcp = frame + 34;
    ip[0] = 0x45;
    put16(ip + 2, (unsigned)(40 + payload));
    put16(ip + 4, 0x1234);
    ip[8] = 64;
    ip[9] = 6;
    memcpy(ip + 12, "\x0a\0\2\2\x0a\0\2\x0f", 8);
    put16(ip + 10, (uint16_t)~fold(ip, 20, 0));
    put16(tcp, 80);
    put16(tcp + 2, 40000);
    put16(tcp + 4, 0x0001);
    put16(tcp + 6, 0xfff0); /* so that the sequence number carries */
    tcp[12] = 0x50;
    tcp[13] = 0x19; /* FIN, PSH, ACK */
    for (size_t i = 0; i < payload; i++)
        tcp[20 + i] = (uint8_t)(i * 5 + i / 256);
    put16(tcp + 16, (uint16_t)~fold(tcp, 20 + payload, pseudo_sum(ip, (unsigned)(20 + payload))));
    return 54 + payload;
}

static void check_tcp(const uint8_t *frame)
{
    const uint8_t *ip = frame + 14;
    unsigned length = get16(ip + 2) - 20;
    ck_assert_uint_eq(fold(ip, 20, 0), 0xffff);
    ck_assert_uint_eq(fold(ip + 20, length, pseudo_sum(ip, length)), 0xffff);
}

/* -- Tests -- */

START_TEST(eeprom_both_ways)
{
    uint16_t sum = 0, words[64];
    for (unsigned i = 0; i < 64; i++) {
        write_reg(EERD, i << 8 | EERD_START);
        ck_assert_uint_eq(read_reg(EERD) & EERD_DONE, EERD_DONE);
        words[i] = (uint16_t)(read_reg(EERD) >> 16);
        sum = (uint16_t)(sum + words[i]);
    }
    ck_assert_uint_eq(sum, 0xbaba);
    ck_assert_mem_eq(words, mac, 6);
    ck_assert_uint_eq(read_reg(RAL0), 0x706f6402);
    ck_assert_uint_eq(read_reg(RAH0), 0x80000100);

    /* Microwire: select, start bit, READ, address 0x3f, dummy bit, 16 bits of data. */
    uint32_t base = EECD_REQ | EECD_CS;
    write_reg(EECD, EECD_REQ);
    ck_assert_uint_eq(read_reg(EECD) & (EECD_GNT | EECD_PRES), EECD_GNT | EECD_PRES);
    write_reg(EECD, base);
    unsigned command = 0x180 | 0x3f;
    for (int bit = 8; bit >= 0; bit--) {
        uint32_t data = command >> bit & 1 ? EECD_DI : 0;
        write_reg(EECD, base | data);
        write_reg(EECD, base | data | EECD_SK);
        write_reg(EECD, base | data);
    }
    ck_assert_uint_eq(read_reg(EECD) & EECD_DO, 0);
    uint16_t value = 0;
    for (int bit = 0; bit < 16; bit++) {
        write_reg(EECD, base | EECD_SK);
        value = (uint16_t)(value << 1 | !!(read_reg(EECD) & EECD_DO));
        write_reg(EECD, base);
    }
    ck_assert_uint_eq(value, words[0x3f]);
}
END_TEST

static uint32_t mdic(unsigned operation, unsigned address, unsigned reg, unsigned data)
{
    write_reg(MDIC, operation << 26 | address << 21 | reg << 16 | data);
    return read_reg(MDIC);
}

START_TEST(phy_and_link)
{
    ck_assert_uint_eq(mdic(2, 1, PHY_ID1, 0), MDIC_READY | 2u << 26 | 1 << 21 | 2 << 16 | 0x0141);
    ck_assert_uint_eq(mdic(2, 1, PHY_ID2, 0) & 0xffff, 0x0c20);
    ck_assert_uint_eq(mdic(2, 1, PHY_STATUS, 0) & 0x24, 0x24);
    ck_assert_uint_ne(mdic(2, 2, PHY_ID1, 0) & MDIC_ERROR, 0);
    ck_assert_uint_eq(read_reg(STATUS) & 0xc3, 0x83);
    mdic(1, 1, PHY_ADVERTISE, 0x01e1);
    ck_assert_uint_eq(mdic(2, 1, PHY_ADVERTISE, 0) & 0xffff, 0x01e1);
    mdic(1, 1, PHY_ID1, 0xffff);
    ck_assert_uint_eq(mdic(2, 1, PHY_ID1, 0) & 0xffff, 0x0141);

    board.port.link_up = false;
    write_reg(IMS, ICR_LSC);
    e1000_link_changed(board.nic);
    ck_assert(board.irq);
    ck_assert_uint_eq(read_reg(STATUS) & STATUS_LU, 0);
    ck_assert_uint_eq(mdic(2, 1, PHY_STATUS, 0) & 0x04, 0);
    ck_assert_uint_eq(read_reg(ICR), ICR_LSC);
    ck_assert(!board.irq);

    io_bus_write(board.io, IO_BASE, 4 * STATUS, 4);
    ck_assert_uint_eq(io_bus_read(board.io, IO_BASE + 4, 4), read_reg(STATUS));
}
END_TEST

START_TEST(legacy_transmit)
{
    uint8_t frame[256], status;
    size_t length = make_tcp(frame, 100);
    start_driver();
    poke(TX_DATA, frame, length);
    put_legacy(TX_DATA, 40, 0, 0, 0);
    ck_assert_uint_eq(sent_count, 0);
    put_legacy(TX_DATA + 40, (uint32_t)length - 40, TXD_CMD_EOP | TXD_CMD_RS, 0, 0);
    ck_assert_uint_eq(sent_count, 1);
    ck_assert_uint_eq(sent_length[0], length);
    ck_assert_mem_eq(sent[0], frame, length);
    ck_assert_uint_eq(read_reg(TDH), 2);
    peek(TX_RING + 12, &status, 1);
    ck_assert_uint_eq(status, 0); /* nobody asked */
    peek(TX_RING + 16 + 12, &status, 1);
    ck_assert_uint_eq(status, TXD_STA_DD);
    ck_assert(board.irq);
    ck_assert_uint_eq(read_reg(ICR), ICR_TXDW | ICR_TXQE);
    ck_assert(!board.irq);

    put_legacy(TX_DATA, 20, TXD_CMD_EOP, 0, 0); /* short: padded */
    ck_assert_uint_eq(sent_length[1], 60);
    ck_assert_uint_eq(sent[1][20], 0);

    frame[50] = frame[51] = 0; /* legacy checksum insertion over the TCP part */
    poke(TX_DATA, frame, length);
    put_legacy(TX_DATA, (uint32_t)length, TXD_CMD_EOP | TXD_CMD_IC, 50, 34);
    ck_assert_uint_eq(get16(sent[2] + 50), (uint16_t)~fold(frame + 34, length - 34, 0));

    ck_assert_uint_eq(read_reg(GPTC), 3);
    ck_assert_uint_eq(read_reg(GPTC), 0); /* cleared by reading */
    board.port.link_up = false;
    put_legacy(TX_DATA, 60, TXD_CMD_EOP, 0, 0);
    ck_assert_uint_eq(sent_count, 3);
}
END_TEST

START_TEST(checksum_offload)
{
    uint8_t frame[600], plain[600];
    size_t length = make_tcp(plain, 333);
    start_driver();
    memcpy(frame, plain, length);
    put16(frame + 24, 0);
    put16(frame + 50, fold(NULL, 0, pseudo_sum(frame + 14, (unsigned)length - 34)));
    poke(TX_DATA, frame, length);
    put_context(TXD_TUCMD_TCP | TXD_TUCMD_IP, 0, 0, 0);
    put_data(TX_DATA, 100, 0, TXD_POPTS_IXSM | TXD_POPTS_TXSM);
    put_data(TX_DATA + 100, (uint32_t)length - 100, TXD_CMD_EOP | TXD_CMD_RS, 0);
    ck_assert_uint_eq(sent_count, 1);
    ck_assert_mem_eq(sent[0], plain, length);
}
END_TEST

START_TEST(segmentation)
{
    enum { PAYLOAD = 5000, MSS = 1460 };
    static uint8_t frame[54 + PAYLOAD];
    size_t length = make_tcp(frame, PAYLOAD);
    start_driver();
    put16(frame + 24, 0);
    put16(frame + 50, fold(NULL, 0, pseudo_sum(frame + 14, 0)));
    poke(TX_DATA, frame, length);
    put_context(TXD_TUCMD_TCP | TXD_TUCMD_IP | TXD_CMD_TSE, 54, MSS, PAYLOAD);
    put_data(TX_DATA, 54, TXD_CMD_TSE, TXD_POPTS_IXSM | TXD_POPTS_TXSM);
    put_data(TX_DATA + 54, 3000, TXD_CMD_TSE, 0);
    put_data(TX_DATA + 3054, PAYLOAD - 3000, TXD_CMD_TSE | TXD_CMD_EOP | TXD_CMD_RS, 0);
    ck_assert_uint_eq(sent_count, 4);
    for (unsigned i = 0; i < 4; i++) {
        unsigned count = i < 3 ? MSS : PAYLOAD - 3 * MSS;
        const uint8_t *tcp = sent[i] + 34;
        ck_assert_uint_eq(sent_length[i], 54 + count);
        check_tcp(sent[i]);
        ck_assert_uint_eq(get16(sent[i] + 18), 0x1234 + i);
        ck_assert_uint_eq(get16(tcp + 4) << 16 | get16(tcp + 6), 0x0001fff0 + i * MSS);
        ck_assert_uint_eq(tcp[13], i < 3 ? 0x10 : 0x19);
        ck_assert_mem_eq(tcp + 20, frame + 54 + i * MSS, count);
    }
}
END_TEST

START_TEST(vlan_insertion_and_stripping)
{
    uint8_t frame[128], data[128];
    uint64_t word;
    size_t length = make_tcp(frame, 20);
    start_driver();
    write_reg(CTRL, read_reg(CTRL) | CTRL_VME);
    poke(TX_DATA, frame, length);
    put_descriptor(TX_DATA, (uint32_t)length | (uint32_t)(TXD_CMD_EOP | TXD_CMD_VLE) << 24,
                   42u << 16);
    ck_assert_uint_eq(sent_length[0], length + 4);
    ck_assert_mem_eq(sent[0] + 12, "\x81\x00\x00\x2a\x08\x00", 6);
    ck_assert_mem_eq(sent[0] + 16, frame + 12, length - 12);

    ck_assert(board.port.receive(board.port.nic, sent[0], length + 4));
    peek(RX_RING + 8, &word, 8);
    ck_assert_uint_eq(word & 0xffff, length);
    ck_assert_uint_eq(word >> 48, 42);
    ck_assert_uint_ne(word >> 32 & RXD_STA_VP, 0);
    peek(RX_BUFFERS, data, length);
    ck_assert_mem_eq(data, frame, length);

    write_reg(RCTL, read_reg(RCTL) | RCTL_VFE); /* 42 is not in the table */
    ck_assert(board.port.receive(board.port.nic, sent[0], length + 4));
    ck_assert_uint_eq(read_reg(RDH), 1);
    write_reg(VFTA + 1, 1u << 10);
    ck_assert(board.port.receive(board.port.nic, sent[0], length + 4));
    ck_assert_uint_eq(read_reg(RDH), 2);
}
END_TEST

START_TEST(receive_and_verify)
{
    uint8_t frame[256], data[256];
    uint64_t word;
    size_t length = make_tcp(frame, 100);
    start_driver();
    ck_assert_uint_eq(writable_count, 1); /* RDT came before RCTL.EN */
    write_reg(RXCSUM, RXCSUM_IPOFL | RXCSUM_TUOFL);
    ck_assert(board.port.can_receive(board.port.nic));
    ck_assert(board.port.receive(board.port.nic, frame, length));
    ck_assert(board.irq);
    ck_assert_uint_ne(read_reg(ICR) & ICR_RXT0, 0);
    peek(RX_RING + 8, &word, 8);
    ck_assert_uint_eq(word & 0xffff, length);
    ck_assert_uint_eq(word >> 32 & 0xffff, RXD_STA_DD | RXD_STA_EOP | RXD_STA_IPCS | RXD_STA_TCPCS);
    peek(RX_BUFFERS, data, length);
    ck_assert_mem_eq(data, frame, length);

    frame[60] ^= 1; /* payload */
    board.port.receive(board.port.nic, frame, length);
    peek(RX_RING + 16 + 8, &word, 8);
    ck_assert_uint_eq(word >> 40 & 0xff, RXD_ERR_TCPE);
    frame[22] ^= 1; /* TTL */
    board.port.receive(board.port.nic, frame, length);
    peek(RX_RING + 32 + 8, &word, 8);
    ck_assert_uint_eq(word >> 40 & 0xff, RXD_ERR_TCPE | RXD_ERR_IPE);

    write_reg(RCTL, read_reg(RCTL) & ~RCTL_SECRC); /* short frame, padded, with FCS */
    memset(frame + 14, 0, 46);
    frame[12] = frame[13] = 0x88;
    board.port.receive(board.port.nic, frame, 20);
    peek(RX_RING + 48 + 8, &word, 8);
    ck_assert_uint_eq(word & 0xffff, 64);
    ck_assert_uint_eq(read_reg(GPRC), 4);
    ck_assert_uint_eq(read_reg(PRC64), 1);
}
END_TEST

START_TEST(address_filters)
{
    uint8_t frame[64] = {0};
    const uint8_t other[6] = {0x02, 1, 2, 3, 4, 5}, multicast[6] = {0x01, 0, 0x5e, 0, 0, 0xfb};
    start_driver();
#define RECEIVED(destination)                                                                      \
    (memcpy(frame, destination, 6),                                                                \
     ck_assert(board.port.receive(board.port.nic, frame, sizeof frame)), read_reg(RDH))
    ck_assert_uint_eq(RECEIVED(other), 0);
    ck_assert_uint_eq(RECEIVED(multicast), 0);
    ck_assert_uint_eq(RECEIVED(mac), 1);
    ck_assert_uint_eq(RECEIVED("\xff\xff\xff\xff\xff\xff"), 2);
    unsigned hash = (0xfb00u >> 4) & 0xfff;
    write_reg(MTA + (hash >> 5), 1u << (hash & 31));
    ck_assert_uint_eq(RECEIVED(multicast), 3);
    write_reg(RCTL, read_reg(RCTL) | RCTL_UPE);
    ck_assert_uint_eq(RECEIVED(other), 4);
    write_reg(RCTL, 0);
    ck_assert_uint_eq(RECEIVED(mac), 4); /* off: taken and lost */
}
END_TEST

START_TEST(full_ring_and_large_frames)
{
    static uint8_t frame[9000];
    uint64_t word;
    make_tcp(frame, 8000);
    start_driver();
    for (unsigned i = 0; i < RING - 1; i++)
        ck_assert(board.port.receive(board.port.nic, frame, 200));
    ck_assert(!board.port.can_receive(board.port.nic));
    ck_assert(!board.port.receive(board.port.nic, frame, 200));
    ck_assert_uint_ne(read_reg(ICR) & (ICR_RXO | ICR_RXDMT0), 0);
    unsigned before = writable_count;
    write_reg(RDT, RING - 2);
    ck_assert_uint_eq(writable_count, before + 1);

    ck_assert(board.port.receive(board.port.nic, frame, 1600)); /* too long without LPE */
    ck_assert_uint_eq(read_reg(ROC), 1);
    write_reg(RCTL, read_reg(RCTL) | RCTL_LPE);
    uint32_t head = read_reg(RDH);
    ck_assert(board.port.receive(board.port.nic, frame, 5000)); /* three buffers */
    ck_assert_uint_eq(read_reg(RDH), (head + 3) % RING);
    peek(RX_RING + 16 * head + 8, &word, 8);
    ck_assert_uint_eq(word & 0xffff, 2048);
    ck_assert_uint_eq(word >> 32 & RXD_STA_EOP, 0);
    peek(RX_RING + 16 * ((head + 2) % RING) + 8, &word, 8);
    ck_assert_uint_eq(word & 0xffff, 5000 - 4096);
    ck_assert_uint_eq(word >> 32 & RXD_STA_EOP, RXD_STA_EOP);
}
END_TEST

/* Reserved bits of address registers read as zero, whatever the driver's self-test writes. */
START_TEST(reserved_bits_stay_zero)
{
    for (unsigned i = 0; i < 16; i++) {
        write_reg((enum e1000_reg)(RAL0 + 2 * i), 0xffffffff);
        write_reg((enum e1000_reg)(RAH0 + 2 * i), 0xffffffff);
        ck_assert_uint_eq(read_reg((enum e1000_reg)(RAL0 + 2 * i)), 0xffffffff);
        ck_assert_uint_eq(read_reg((enum e1000_reg)(RAH0 + 2 * i)), 0x8003ffff);
    }
}
END_TEST

START_TEST(mac_loopback)
{
    uint8_t frame[200], stored[200];
    start_driver();
    size_t length = make_tcp(frame, 100);
    poke(TX_DATA, frame, length);
    write_reg(RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC | RCTL_LBM_MAC);
    put_legacy(TX_DATA, (uint32_t)length, TXD_CMD_EOP | TXD_CMD_RS, 0, 0);
    ck_assert_uint_eq(sent_count, 0);
    ck_assert_uint_eq(read_reg(RDH), 1);
    peek(RX_BUFFERS, stored, length);
    ck_assert_mem_eq(stored, frame, length);
}
END_TEST

START_TEST(interrupt_moderation)
{
    uint8_t frame[64] = {0};
    memcpy(frame, mac, 6);
    start_driver();
    write_reg(ITR, 1000); /* 256 us */
    board.port.receive(board.port.nic, frame, sizeof frame);
    ck_assert(board.irq);
    read_reg(ICR);
    board.port.receive(board.port.nic, frame, sizeof frame);
    ck_assert(!board.irq);
    tick(255999);
    ck_assert(!board.irq);
    tick(1);
    ck_assert(board.irq);
    read_reg(ICR);
    tick(300000);

    write_reg(ITR, 0);
    write_reg(RDTR, 100); /* 102.4 us after the last frame, at most 153.6 after the first */
    write_reg(RADV, 150);
    board.port.receive(board.port.nic, frame, sizeof frame);
    tick(100000);
    board.port.receive(board.port.nic, frame, sizeof frame);
    ck_assert(!board.irq);
    tick(53599);
    ck_assert(!board.irq);
    tick(1);
    ck_assert(board.irq);
    read_reg(ICR);
    board.port.receive(board.port.nic, frame, sizeof frame);
    write_reg(RDTR, 100 | RDTR_FPD);
    ck_assert(board.irq);
}
END_TEST

START_TEST(work_is_bounded)
{
    static uint8_t frame[60000];
    make_tcp(frame, 50000);
    put16(frame + 24, 0);
    put16(frame + 50, fold(NULL, 0, pseudo_sum(frame + 14, 0)));
    start_driver();
    poke(TX_DATA, frame, sizeof frame);
    put_context(TXD_TUCMD_TCP | TXD_TUCMD_IP | TXD_CMD_TSE, 54, 10, 50000);
    put_data(TX_DATA, 50054, TXD_CMD_TSE | TXD_CMD_EOP | TXD_CMD_RS, 3);
    ck_assert_uint_lt(sent_count, 300); /* the rest comes in pieces */
    ck_assert_uint_gt(sent_count, 200);
    ck_assert_uint_eq(read_reg(TDH), 1);
    for (int i = 0; i < 30; i++)
        tick(1000);
    ck_assert_uint_eq(sent_count, 5000);
    ck_assert_uint_eq(read_reg(TDH), 2);
    check_tcp(sent[4000 % 4096]);
}
END_TEST

START_TEST(hostile_rings)
{
    uint8_t frame[64] = {0};
    memcpy(frame, mac, 6);
    start_driver();
    write_reg(TDLEN, 0x80);
    write_reg(TDT, 0xffff); /* outside the ring */
    write_reg(TDH, 0xfff0);
    write_reg(TDT, 1);
    write_reg(TDLEN, 0);
    write_reg(TDH, 0);
    write_reg(TDT, 5);
    write_reg(TDLEN, 0xfff80);
    write_reg(TDBAH, 0xffffffff); /* outside RAM */
    write_reg(TDT, 0x7fff);
    write_reg(TDBAH, 0);
    write_reg(TDBAL, 0xfff80); /* ends beyond RAM */
    write_reg(TDT, 0x7ffe);
    for (int i = 0; i < 300; i++)
        tick(1000);

    write_reg(RDLEN, 0xfff80);
    write_reg(RDH, 0x8000);
    write_reg(RDT, 0x9000);
    write_reg(RDBAH, 0x80000000);
    board.port.receive(board.port.nic, frame, sizeof frame);
    write_reg(RDLEN, 0);
    ck_assert(board.port.receive(board.port.nic, frame, sizeof frame));
    write_reg(RDLEN, 0x80);
    write_reg(RDBAH, 0);
    write_reg(RDH, 0xffff);
    board.port.receive(board.port.nic, frame, sizeof frame);

    /* Segmentation contexts that make no sense. */
    static const struct {
        uint8_t header;
        uint16_t mss;
    } contexts[] = {{54, 0}, {0, 1460}, {255, 0xffff}, {53, 1}, {255, 1}};
    write_reg(CTRL, CTRL_RST);
    start_driver();
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        put_context(TXD_TUCMD_TCP | TXD_CMD_TSE, contexts[i].header, contexts[i].mss, 9999);
        put_data(TX_DATA, 0xfffff, TXD_CMD_TSE | TXD_CMD_EOP, 3);
        for (int k = 0; k < 10; k++)
            tick(1000);
    }
    write_reg(CTRL, CTRL_RST);
    ck_assert_uint_eq(read_reg(TDH), 0);
}
END_TEST

/* Random descriptors and registers: nothing breaks, and a reset recovers. */
START_TEST(random_traffic)
{
    srand(5);
    for (int i = 0; i < 3000; i++) {
        uint32_t words[4 * RING];
        start_driver();
        for (unsigned k = 0; k < 4 * RING; k++)
            words[k] = (uint32_t)rand() << 1 ^ (uint32_t)rand();
        for (unsigned k = 0; k < RING; k++) {
            words[4 * k] &= 0xfffff;
            words[4 * k + 1] &= rand() % 4 ? 0 : UINT32_MAX;
            if (rand() % 2)
                words[4 * k + 2] &= 0xff1007ff; /* short data descriptors */
        }
        poke(TX_RING, words, sizeof words);
        write_reg(TDT, (uint32_t)rand() % RING);
        enum e1000_reg reg = (enum e1000_reg)(rand() % E1000_REGISTERS);
        write_reg(reg, words[5]);
        read_reg((enum e1000_reg)(rand() % E1000_REGISTERS));
        uint8_t frame[2000] = {0};
        memcpy(frame, mac, 6);
        board.port.receive(board.port.nic, frame, 14 + (size_t)rand() % 1980);
        tick(1000);
        if (i % 16 == 0)
            write_reg(CTRL, CTRL_RST);
        sent_count = 0;
    }
    device_list_reset(&board.devices);
    config_write(0x10, MMIO);
    config_write(0x04, 7);
    start_driver();
    put_legacy(TX_DATA, 100, TXD_CMD_EOP, 0, 0);
    ck_assert_uint_eq(sent_count, 1);
}
END_TEST

START_TEST(saved_in_the_middle_of_a_frame)
{
    static uint8_t frame[54 + 3000];
    struct state_buffer saved = {0};
    struct error error = {""};
    struct board other, first;
    make_tcp(frame, 3000);
    start_driver();
    poke(TX_DATA, frame, sizeof frame);
    put_context(TXD_TUCMD_TCP | TXD_TUCMD_IP | TXD_CMD_TSE, 54, 1000, 3000);
    put_data(TX_DATA, 2000, TXD_CMD_TSE, TXD_POPTS_IXSM);
    ck_assert_uint_eq(sent_count, 1);
    state_save_devices(&saved, &board.devices);
    build(&other);
    ck_assert_msg(state_load_devices(saved.bytes, saved.length, &other.devices, &error), "%s",
                  error.text);
    ck_assert_msg(state_compare_devices(&board.devices, &other.devices, &error), "%s", error.text);
    first = board;
    board = other; /* devices keep their own pointers; only the test's view moves */
    poke(TX_DATA, frame, sizeof frame);
    put_data(TX_DATA + 2000, 1054, TXD_CMD_TSE | TXD_CMD_EOP, 0);
    ck_assert_uint_eq(sent_count, 3);
    ck_assert_mem_eq(sent[2] + 54, frame + 54 + 2000, 1000);
    tear_down(&board);
    board = first;
    state_buffer_free(&saved);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("e1000");
    TCase *tcase = tcase_create("e1000");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, eeprom_both_ways);
    tcase_add_test(tcase, phy_and_link);
    tcase_add_test(tcase, legacy_transmit);
    tcase_add_test(tcase, checksum_offload);
    tcase_add_test(tcase, segmentation);
    tcase_add_test(tcase, vlan_insertion_and_stripping);
    tcase_add_test(tcase, receive_and_verify);
    tcase_add_test(tcase, address_filters);
    tcase_add_test(tcase, full_ring_and_large_frames);
    tcase_add_test(tcase, reserved_bits_stay_zero);
    tcase_add_test(tcase, mac_loopback);
    tcase_add_test(tcase, interrupt_moderation);
    tcase_add_test(tcase, work_is_bounded);
    tcase_add_test(tcase, hostile_rings);
    tcase_add_test(tcase, random_traffic);
    tcase_add_test(tcase, saved_in_the_middle_of_a_frame);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
