/*
 * RTL8139C and C+ through their registers, ring and descriptors, as drivers use them, and as a
 * hostile one does.
 *
 *   test_rtl8139 [STEPS]     of noise (default 20000)
 */
#include "hw/network/rtl8139.h"
#include "hw/network/rtl8139_regs.h"
#include "tests/hw/nic_bench.h"

#define RING      0x10000u
#define RING_SIZE 8192u
#define TX_BUFFER 0x20000u
#define TX_RING   0x30000u
#define RX_RING   0x31000u
#define RX_BUFFER 0x40000u
#define ACCEPT    (RCR_APM | RCR_AM | RCR_AB)

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void build(bool plus)
{
    nic_bench_build(&nic_bench);
    rtl8139_new(&nic_bench.pci.devices, nic_bench.pci.pci, NIC_DEVFN, nic_bench.pci.clock, nic_mac,
                &nic_bench.port, plus, "nic0");
    nic_bench_start(&nic_bench);
}

static void setup(void)
{
    build(true);
}

static void teardown(void)
{
    pci_bench_free(&nic_bench.pci);
}

/* As drivers for the C program it: a ring of 8 KiB, all interrupts. */
static void start_ring(uint32_t rcr)
{
    nic_out(CR, CR_RST, 1);
    ck_assert_uint_eq(nic_in(CR, 1), CR_BUFE);
    nic_out(RBSTART, RING, 4);
    nic_out(CR, CR_TE | CR_RE, 1);
    nic_out(RCR, rcr, 4);
    nic_out(IMR, 0xffff, 2);
}

/* -- Identity, EEPROM, configuration -- */

static uint16_t read_eeprom(unsigned address)
{
    uint16_t word = 0;
    uint32_t command = 6u << 6 | address;
    nic_out(CR9346, CR9346_PROGRAM | CR9346_EECS, 1);
    for (int i = 8; i >= 0; i--) {
        uint32_t pins = CR9346_PROGRAM | CR9346_EECS | (command >> i & 1 ? CR9346_EEDI : 0);
        nic_out(CR9346, pins, 1);
        nic_out(CR9346, pins | CR9346_EESK, 1);
    }
    for (int i = 0; i < 16; i++) {
        nic_out(CR9346, CR9346_PROGRAM | CR9346_EECS, 1);
        nic_out(CR9346, CR9346_PROGRAM | CR9346_EECS | CR9346_EESK, 1);
        word = (uint16_t)(word << 1 | (nic_in(CR9346, 1) & CR9346_EEDO));
    }
    nic_out(CR9346, 0, 1);
    return word;
}

START_TEST(identity_and_eeprom)
{
    ck_assert_uint_eq(pci_config_read(nic_bench.pci.pci, NIC_DEVFN, 0, 4), 0x813910ec);
    ck_assert_uint_eq(pci_config_read(nic_bench.pci.pci, NIC_DEVFN, PCI_REVISION, 1), 0x20);
    ck_assert_uint_eq(nic_in(TCR, 4) & TCR_HWVERID, TCR_VERSION_CP);
    ck_assert_uint_eq(read_eeprom(0), 0x8129);
    ck_assert_uint_eq(read_eeprom(7), 0x6402);
    ck_assert_uint_eq(nic_in(IDR0, 4), 0x706f6402);
    ck_assert_uint_eq(nic_in(IDR0 + 4, 2), 0x0100);
    /* The same registers through memory. */
    ck_assert_uint_eq(memory_mmio_read(nic_bench.pci.memory, NIC_MMIO + IDR0, 4), 0x706f6402);

    nic_out(RMS, 0x600, 2); /* what an RTL8169 would keep */
    ck_assert_uint_eq(nic_in(RMS, 2), 0);

    nic_out(IDR0, 0x12345678, 4); /* until the EEPROM is loaded again */
    ck_assert_uint_eq(nic_in(IDR0, 4), 0x12345678);
    nic_out(CR9346, CR9346_LOAD, 1);
    ck_assert_uint_eq(nic_in(IDR0, 4), 0x706f6402);
    ck_assert_uint_eq(nic_in(CR9346, 1) & CR9346_MODE, 0);
    teardown();
    build(false);
    ck_assert_uint_eq(pci_config_read(nic_bench.pci.pci, NIC_DEVFN, PCI_REVISION, 1), 0x10);
    ck_assert_uint_eq(nic_in(TCR, 4) & TCR_HWVERID, TCR_VERSION);
    nic_out(CPCR, CPCR_TXE | CPCR_RXE, 2); /* does not exist */
    ck_assert_uint_eq(nic_in(CPCR, 2), 0);
}
END_TEST

START_TEST(configuration_is_locked)
{
    uint8_t before = (uint8_t)nic_in(CONFIG1, 1);
    nic_out(CONFIG1, (uint8_t)~before, 1);
    ck_assert_uint_eq(nic_in(CONFIG1, 1), before);
    nic_out(CR9346, CR9346_CONFIG, 1);
    nic_out(CONFIG1, (uint8_t)~before, 1);
    ck_assert_uint_ne(nic_in(CONFIG1, 1), before);
    ck_assert_uint_eq(nic_in(CONFIG1, 1) & 0x0c, before & 0x0c); /* how it is wired */
    nic_out(BMCR, 0, 2);
    ck_assert_uint_eq(nic_in(BMCR, 2), 0);
    nic_out(CR9346, 0, 1);
    nic_out(BMCR, 0x3100, 2);
    ck_assert_uint_eq(nic_in(BMCR, 2), 0);
    nic_out(BMCR, BMCR_RESET, 2);
    ck_assert_uint_eq(nic_in(BMCR, 2), 0x3100);
}
END_TEST

START_TEST(link_is_seen)
{
    ck_assert_uint_eq(nic_in(MSR, 1) & MSR_LINKB, 0);
    ck_assert_uint_eq(nic_in(BMSR, 2) & BMSR_LINK, BMSR_LINK);
    nic_out(IMR, ISR_LINK, 2);
    nic_bench.port.link_up = false;
    rtl8139_link_changed(nic_bench.port.nic);
    ck_assert(nic_bench.pci.irq);
    ck_assert_uint_eq(nic_in(MSR, 1) & MSR_LINKB, MSR_LINKB);
    ck_assert_uint_eq(nic_in(BMSR, 2) & BMSR_LINK, 0);
    nic_out(ISR, ISR_LINK, 2);
    ck_assert(!nic_bench.pci.irq);
}
END_TEST

START_TEST(timer_counts_pci_clocks)
{
    nic_out(IMR, ISR_TIMEOUT, 2);
    nic_out(TCTR, 0, 4);
    nic_out(TIMERINT, 1000, 4);
    nic_bench_tick(&nic_bench, 29999);
    ck_assert_uint_eq(nic_in(TCTR, 4), 999);
    ck_assert(!nic_bench.pci.irq);
    nic_bench_tick(&nic_bench, 1);
    ck_assert(nic_bench.pci.irq);
    nic_out(ISR, ISR_TIMEOUT, 2);
    nic_bench_tick(&nic_bench, 30000);
    ck_assert(!nic_bench.pci.irq); /* it comes again when the counter has wrapped */
    nic_bench_tick(&nic_bench, (1ull << 32) * 30 - 30000);
    ck_assert(nic_bench.pci.irq);
    nic_out(ISR, ISR_TIMEOUT, 2);
    nic_out(TCTR, 0, 4); /* any write starts it anew */
    ck_assert_uint_eq(nic_in(TCTR, 4), 0);
    nic_bench_tick(&nic_bench, 30000);
    ck_assert(nic_bench.pci.irq);
}
END_TEST

/* -- The C's transmitter and ring -- */

START_TEST(four_descriptors_take_turns)
{
    uint8_t frame[100];
    start_ring(ACCEPT);
    nic_make_frame(frame, broadcast, sizeof frame, 1);
    nic_poke(TX_BUFFER, frame, sizeof frame);
    ck_assert_uint_eq(nic_in(TSAD, 2), 0x000f);
    for (unsigned i = 0; i < 6; i++) {
        nic_out(TSAD0 + 4 * (i % 4), TX_BUFFER, 4);
        nic_out(TSD0 + 4 * (i % 4), 60 + i, 4);
        ck_assert_uint_eq(nic_bench.sent_count, i + 1);
        ck_assert_uint_eq(nic_bench.sent_length[i], 60 + i);
        ck_assert_mem_eq(nic_bench.sent[i], frame, 60 + i);
        ck_assert_uint_eq(nic_in(TSD0 + 4 * (i % 4), 4) & (TSD_OWN | TSD_TOK), TSD_OWN | TSD_TOK);
        ck_assert_uint_eq(nic_in(ISR, 2), ISR_TOK);
        ck_assert(nic_bench.pci.irq);
        nic_out(ISR, ISR_TOK, 2);
        ck_assert(!nic_bench.pci.irq);
    }
    nic_out(TSD0 + 12, 64, 4); /* not its turn: waits for number 2 */
    ck_assert_uint_eq(nic_bench.sent_count, 6);
    nic_out(TSAD0 + 8, TX_BUFFER, 4);
    nic_out(TSD0 + 8, 61, 4);
    ck_assert_uint_eq(nic_bench.sent_count, 8);
    nic_out(TSD0, 1793, 4);
    ck_assert_uint_eq(nic_bench.sent_count, 8);
    ck_assert_uint_eq(nic_in(TSD0, 4) & TSD_TABT, TSD_TABT);
    ck_assert_uint_eq(nic_in(ISR, 2) & ISR_TER, ISR_TER);
}
END_TEST

/* The frame at the ring's offset `at`; returns where the next one is. */
static uint32_t check_ring_frame(uint32_t at, const uint8_t *frame, size_t length, uint16_t status)
{
    uint8_t header[4], stored[NIC_FRAME_MAX], fcs[4];
    nic_peek(RING + at, header, 4);
    ck_assert_uint_eq(pci_get(header, 0, 2), RXS_ROK | status);
    ck_assert_uint_eq(pci_get(header, 2, 2), length + 4);
    for (size_t i = 0; i < length; i++)
        nic_peek(RING + (at + 4 + i) % RING_SIZE, stored + i, 1);
    ck_assert_mem_eq(stored, frame, length);
    for (size_t i = 0; i < 4; i++)
        nic_peek(RING + (at + 4 + length + i) % RING_SIZE, fcs + i, 1);
    ck_assert_uint_eq(pci_get(fcs, 0, 4), ethernet_fcs(frame, length));
    return (at + (uint32_t)length + 8 + 3) / 4 * 4 % RING_SIZE;
}

START_TEST(ring_wraps_and_holds_back)
{
    uint8_t frame[1514];
    uint32_t at = 0;
    start_ring(ACCEPT);
    for (unsigned i = 0; i < 50; i++) {
        size_t length = 60 + i * 29;
        nic_make_frame(frame, nic_mac, length, i);
        ck_assert(nic_bench_receive(&nic_bench, frame, length));
        ck_assert_uint_eq(nic_in(CR, 1) & CR_BUFE, 0);
        at = check_ring_frame(at, frame, length, RXS_PAM);
        ck_assert_uint_eq(nic_in(CBR, 2), at);
        ck_assert(nic_bench.pci.irq);
        nic_out(ISR, ISR_ROK, 2);
        nic_out(CAPR, at - 16, 2);
        ck_assert_uint_eq(nic_in(CR, 1) & CR_BUFE, CR_BUFE);
    }
    /* Full: the sixth of 1514 waits until the driver has read one. */
    for (unsigned i = 0; i < 5; i++)
        ck_assert(nic_bench_receive(&nic_bench, frame, 1514));
    ck_assert(!nic_bench.port.can_receive(nic_bench.port.nic));
    ck_assert(!nic_bench_receive(&nic_bench, frame, 1514));
    nic_out(ISR, ISR_ROK, 2);
    nic_bench_tick(&nic_bench, 1000000); /* the driver hears of what it has left in the ring */
    ck_assert_uint_eq(nic_in(ISR, 2), ISR_ROK);
    ck_assert_uint_gt(nic_bench.held_length, 0);
    nic_out(CAPR, (at + 1524) % RING_SIZE - 16, 2);
    ck_assert_uint_eq(nic_bench.held_length, 0);
}
END_TEST

START_TEST(ring_without_wrap_goes_on_behind_its_end)
{
    uint8_t frame[1500], stored[1500], nothing[64] = {0};
    start_ring(ACCEPT | RCR_WRAP);
    nic_make_frame(frame, nic_mac, sizeof frame, 3);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert(nic_bench_receive(&nic_bench, frame, sizeof frame));
        nic_out(CAPR, nic_in(CBR, 2) - 16, 2);
    }
    uint32_t at = nic_in(CBR, 2); /* 652 bytes before the end */
    nic_poke(RING, nothing, sizeof nothing);
    ck_assert(nic_bench_receive(&nic_bench, frame, sizeof frame));
    nic_peek(RING + at + 4, stored, sizeof stored);
    ck_assert_mem_eq(stored, frame, sizeof frame);
    nic_peek(RING, stored, sizeof nothing);
    ck_assert_mem_eq(stored, nothing, sizeof nothing);
    ck_assert_uint_eq(nic_in(CBR, 2), (at + 1508) % RING_SIZE);
}
END_TEST

static bool accepted(const uint8_t to[6], uint32_t rcr)
{
    uint8_t frame[60];
    nic_out(RCR, rcr, 4);
    uint32_t before = nic_in(CBR, 2);
    nic_make_frame(frame, to, sizeof frame, 5);
    nic_bench_receive(&nic_bench, frame, sizeof frame);
    bool taken = nic_in(CBR, 2) != before;
    nic_out(CAPR, nic_in(CBR, 2) - 16, 2);
    return taken;
}

START_TEST(address_filters)
{
    static const uint8_t other[6] = {2, 1, 2, 3, 4, 5}, group[6] = {0x33, 0x33, 0, 0, 0, 1};
    unsigned hash = ethernet_hash(group);
    start_ring(0);
    ck_assert(!accepted(nic_mac, 0) && !accepted(broadcast, 0));
    ck_assert(accepted(nic_mac, RCR_APM) && !accepted(other, RCR_APM));
    ck_assert(accepted(other, RCR_AAP) && accepted(nic_mac, RCR_AAP));
    ck_assert(accepted(broadcast, RCR_AB) && !accepted(broadcast, RCR_AM | RCR_APM | RCR_AAP));
    ck_assert(!accepted(group, RCR_AM));
    nic_out(MAR0 + hash / 8, 1u << hash % 8, 1);
    ck_assert(accepted(group, RCR_AM) && !accepted(group, RCR_AB | RCR_APM));
    nic_out(CR, CR_TE, 1);
    ck_assert(nic_bench_receive(&nic_bench, broadcast, sizeof broadcast)); /* lost */
}
END_TEST

START_TEST(loopback)
{
    uint8_t frame[80];
    start_ring(ACCEPT);
    nic_out(TCR, TCR_LBK, 4);
    nic_make_frame(frame, nic_mac, sizeof frame, 7);
    nic_poke(TX_BUFFER, frame, sizeof frame);
    nic_out(TSAD0, TX_BUFFER, 4);
    nic_out(TSD0, sizeof frame, 4);
    ck_assert_uint_eq(nic_bench.sent_count, 0);
    check_ring_frame(0, frame, sizeof frame, RXS_PAM);
    ck_assert_uint_eq(nic_in(ISR, 2), ISR_ROK | ISR_TOK);
}
END_TEST

/* -- The C+ -- */

static void start_plus(uint32_t extra)
{
    nic_out(CR, CR_RST, 1);
    nic_out(CPCR, CPCR_TXE | CPCR_RXE | extra, 2);
    nic_out(RDSAR, RX_RING, 4);
    nic_out(TNPDS, TX_RING, 4);
    nic_out(CR, CR_TE | CR_RE, 1);
    nic_out(RCR, ACCEPT, 4);
    nic_out(IMR, 0xffff, 2);
}

static void put_descriptor(uint32_t ring, unsigned index, uint32_t first, uint32_t vlan,
                           uint32_t address)
{
    const uint32_t words[4] = {first, vlan, address, 0};
    nic_poke(ring + 16 * index, words, sizeof words);
}

static uint32_t first_word(uint32_t ring, unsigned index)
{
    uint32_t word;
    nic_peek(ring + 16 * index, &word, sizeof word);
    return word;
}

START_TEST(plus_receives_over_descriptors)
{
    uint8_t frame[600], stored[604];
    size_t length = nic_make_tcp(frame, 546);
    struct ipv4_check check = ipv4_check(frame, length);
    ipv4_fill_header(frame, &check);
    ipv4_fill_payload(frame, &check);
    start_plus(CPCR_RXCHKSUM);
    put_descriptor(RX_RING, 0, DESC_OWN | 400, 0, RX_BUFFER);
    ck_assert(!nic_bench_receive(&nic_bench, frame, length)); /* it needs two */
    ck_assert_uint_eq(nic_in(ISR, 2), ISR_RXOVW);
    put_descriptor(RX_RING, 1, DESC_OWN | DESC_EOR | 400, 0, RX_BUFFER + 400);
    nic_out(ISR, 0xffff, 2); /* the driver reacts: the frame comes again */
    ck_assert_uint_eq(nic_bench.held_length, 0);
    ck_assert_uint_eq(first_word(RX_RING, 0), DESC_FS);
    ck_assert_uint_eq(first_word(RX_RING, 1),
                      DESC_EOR | DESC_LS | RXD_PAM | RXD_TCP | (uint32_t)(length + 4));
    nic_peek(RX_BUFFER, stored, length + 4);
    ck_assert_mem_eq(stored, frame, length);
    ck_assert_uint_eq(pci_get(stored, (unsigned)length, 4), ethernet_fcs(frame, length));

    frame[599] ^= 1;
    frame[14 + 8] ^= 1;
    put_descriptor(RX_RING, 0, DESC_OWN | 2000, 0, RX_BUFFER);
    ck_assert(nic_bench_receive(&nic_bench, frame, length));
    ck_assert_uint_eq(first_word(RX_RING, 0) & (RXD_TCPF | RXD_IPF | RXD_IP),
                      RXD_TCPF | RXD_IPF | RXD_TCP);
}
END_TEST

START_TEST(plus_takes_vlan_tags_off_and_puts_them_on)
{
    uint8_t frame[104], stored[104];
    uint32_t words[2];
    start_plus(CPCR_RXVLAN);
    nic_make_frame(frame, nic_mac, sizeof frame, 11);
    store16(frame + 12, ETHERTYPE_VLAN);
    store16(frame + 14, 0x2123);
    put_descriptor(RX_RING, 0, DESC_OWN | DESC_EOR | 2000, 0, RX_BUFFER);
    ck_assert(nic_bench_receive(&nic_bench, frame, sizeof frame));
    nic_peek(RX_RING, words, sizeof words);
    ck_assert_uint_eq(words[0] & RXD_SIZE, sizeof frame - 4 + 4);
    ck_assert_uint_eq(words[1], DESC_VLAN_RX | 0x2321);
    nic_peek(RX_BUFFER, stored, sizeof stored - 4);
    ck_assert_mem_eq(stored, frame, 12);
    ck_assert_mem_eq(stored + 12, frame + 16, sizeof frame - 16);

    put_descriptor(TX_RING, 0, DESC_OWN | DESC_EOR | DESC_FS | DESC_LS | (sizeof frame - 4),
                   DESC_VLAN_TX | 0x2321, RX_BUFFER);
    nic_out(TPPOLL, TPPOLL_NPQ, 1);
    ck_assert_uint_eq(nic_bench.sent_count, 1);
    ck_assert_uint_eq(nic_bench.sent_length[0], sizeof frame);
    ck_assert_mem_eq(nic_bench.sent[0], frame, sizeof frame);
}
END_TEST

START_TEST(plus_sends_with_checksums)
{
    uint8_t frame[400];
    size_t length = nic_make_tcp(frame, 300);
    start_plus(0);
    nic_poke(TX_BUFFER, frame, length);
    put_descriptor(TX_RING, 0, DESC_OWN | DESC_FS | TXD_IPCS | TXD_TCPCS | 100, 0, TX_BUFFER);
    nic_out(TPPOLL, TPPOLL_NPQ, 1);
    ck_assert_uint_eq(nic_bench.sent_count, 0); /* the rest is missing */
    ck_assert_uint_eq(nic_in(ISR, 2), ISR_TDU);
    put_descriptor(TX_RING, 1, DESC_OWN | DESC_LS | DESC_EOR | (uint32_t)(length - 100), 0,
                   TX_BUFFER + 100);
    nic_out(TPPOLL, TPPOLL_NPQ, 1);
    ck_assert_uint_eq(nic_bench.sent_count, 1);
    ck_assert_uint_eq(first_word(TX_RING, 0) & DESC_OWN, 0);
    ck_assert_uint_eq(first_word(TX_RING, 1) & (DESC_OWN | DESC_EOR | DESC_LS), DESC_EOR | DESC_LS);
    ck_assert_uint_eq(nic_in(ISR, 2), ISR_TDU | ISR_TOK);
    struct ipv4_check check = ipv4_check(nic_bench.sent[0], nic_bench.sent_length[0]);
    ck_assert(check.is_ip && !check.header_bad && check.checked && !check.payload_bad);
    ck_assert_uint_eq(nic_in(TPPOLL, 1), 0);
}
END_TEST

START_TEST(plus_sends_large_frames_in_segments)
{
    enum { PAYLOAD = 30000, MSS = 1000 };
    static uint8_t frame[54 + PAYLOAD];
    size_t length = nic_make_tcp(frame, PAYLOAD);
    start_plus(0);
    nic_poke(TX_BUFFER, frame, length);
    put_descriptor(TX_RING, 0,
                   DESC_OWN | DESC_EOR | DESC_FS | DESC_LS | TXD_LGSEN | MSS << 16 |
                       (uint32_t)length,
                   0, TX_BUFFER);
    nic_out(TPPOLL, TPPOLL_NPQ, 1);
    ck_assert_uint_eq(nic_bench.sent_count, PAYLOAD / MSS);
    for (unsigned i = 0; i < PAYLOAD / MSS; i++) {
        const uint8_t *sent = nic_bench.sent[i];
        bool last = i + 1 == PAYLOAD / MSS;
        ck_assert_uint_eq(nic_bench.sent_length[i], 54 + MSS);
        struct ipv4_check check = ipv4_check(sent, nic_bench.sent_length[i]);
        ck_assert(check.is_ip && !check.header_bad && check.checked && !check.payload_bad);
        ck_assert_uint_eq(load16(sent + 18), (0xfffe + i) & 0xffff);
        ck_assert_uint_eq(load32(sent + 38), 0x0001fff0 + i * MSS);
        ck_assert_uint_eq(sent[47], last ? 0x19 : 0x10);
        ck_assert_mem_eq(sent + 54, frame + 54 + i * MSS, MSS);
    }
}
END_TEST

START_TEST(large_sends_are_cut_in_pieces_of_time)
{
    static uint8_t frame[54 + 2000];
    size_t length = nic_make_tcp(frame, 2000);
    start_plus(0);
    nic_poke(TX_BUFFER, frame, length);
    put_descriptor(TX_RING, 0,
                   DESC_OWN | DESC_EOR | DESC_FS | DESC_LS | TXD_LGSEN | 1 << 16 | (uint32_t)length,
                   0, TX_BUFFER);
    nic_out(TPPOLL, TPPOLL_NPQ, 1);
    ck_assert_uint_lt(nic_bench.sent_count, 300);
    ck_assert(first_word(TX_RING, 0) & DESC_OWN);
    for (int i = 0; i < 20; i++)
        nic_bench_tick(&nic_bench, 1);
    ck_assert_uint_eq(nic_bench.sent_count, 2000);
    ck_assert(!(first_word(TX_RING, 0) & DESC_OWN));
}
END_TEST

START_TEST(counters_are_dumped)
{
    uint8_t frame[60], dump[64];
    start_plus(0);
    put_descriptor(RX_RING, 0, DESC_OWN | DESC_EOR | 2000, 0, RX_BUFFER);
    nic_make_frame(frame, broadcast, sizeof frame, 1);
    ck_assert(nic_bench_receive(&nic_bench, frame, sizeof frame));
    put_descriptor(TX_RING, 0, DESC_OWN | DESC_EOR | DESC_FS | DESC_LS | 60, 0, RX_BUFFER);
    nic_out(TPPOLL, TPPOLL_NPQ, 1);
    nic_out(DTCCR + 4, 0, 4);
    nic_out(DTCCR, TX_BUFFER | DTCCR_CMD, 4);
    ck_assert_uint_eq(nic_in(DTCCR, 4), TX_BUFFER);
    nic_peek(TX_BUFFER, dump, sizeof dump);
    ck_assert_uint_eq(dump[0], 1);  /* sent */
    ck_assert_uint_eq(dump[8], 1);  /* received */
    ck_assert_uint_eq(dump[48], 1); /* broadcasts */
}
END_TEST

/* -- Hostile guests, saving -- */

static unsigned noise_steps = 20000;

/* Descriptors, registers, then what drivers do, so that something comes of it. */
static void random_step(uint64_t *seed)
{
    uint8_t frame[NIC_FRAME_MAX];
    uint32_t words[256];
    for (unsigned i = 0; i < 256; i += 4) {
        words[i] = (nic_noise(seed) & (nic_noise(seed) % 4 ? 0xf40707ff : UINT32_MAX)) |
                   (nic_noise(seed) % 8 ? DESC_OWN : 0);
        words[i + 1] = nic_noise(seed);
        words[i + 2] = nic_noise(seed) % 0x100000;
        words[i + 3] = nic_noise(seed) % 16 ? 0 : nic_noise(seed);
    }
    nic_poke(nic_noise(seed) % 4 ? TX_RING : RX_RING, words, sizeof words);
    if (nic_noise(seed) % 2)
        start_plus(nic_noise(seed) & (CPCR_RXCHKSUM | CPCR_RXVLAN));
    else
        start_ring(ACCEPT | (nic_noise(seed) & 0x1880));
    size_t length = nic_make_tcp(frame, nic_noise(seed) % 4000);
    nic_poke(nic_noise(seed) % 0xf0000, frame, length);
    for (int i = 0; i < 6; i++) {
        unsigned size = 1u << nic_noise(seed) % 3, reg = nic_noise(seed) % (257 - size);
        nic_out(reg, nic_noise(seed), size);
        nic_in(reg, size);
    }
    nic_out(TPPOLL, nic_noise(seed), 1);
    nic_out(TSD0 + 4 * (nic_noise(seed) % 4), nic_noise(seed) % 2000, 4);
    if (nic_noise(seed) % 2)
        memcpy(frame, broadcast, 6);
    nic_bench_receive(&nic_bench, frame, length);
    nic_bench_tick(&nic_bench, nic_noise(seed) % 2000000);
}

START_TEST(noise_does_no_harm)
{
    uint8_t frame[60];
    uint64_t seed = 7;
    unsigned saved_log = log_items;
    log_items = 0;
    for (unsigned i = 0; i < noise_steps; i++)
        random_step(&seed);
    log_items = saved_log;
    ck_assert_uint_gt(nic_bench.sent_count, noise_steps / 20);
    device_list_reset(&nic_bench.pci.devices);
    nic_bench_start(&nic_bench);
    start_ring(ACCEPT);
    nic_make_frame(frame, nic_mac, sizeof frame, 1);
    nic_bench.held_length = 0;
    ck_assert(nic_bench_receive(&nic_bench, frame, sizeof frame));
    check_ring_frame(0, frame, sizeof frame, RXS_PAM);
}
END_TEST

START_TEST(saved_in_the_middle)
{
    static struct nic_bench copy;
    uint8_t frame[400];
    size_t length = nic_make_tcp(frame, 300);
    start_plus(0);
    nic_poke(TX_BUFFER, frame, length);
    put_descriptor(TX_RING, 0, DESC_OWN | DESC_FS | 100, 0, TX_BUFFER);
    nic_out(TPPOLL, TPPOLL_NPQ, 1);
    nic_out(TIMERINT, 5000, 4);
    nic_bench_build(&copy);
    rtl8139_new(&copy.pci.devices, copy.pci.pci, NIC_DEVFN, copy.pci.clock, nic_mac, &copy.port,
                true, "nic0");
    pci_bench_copy_state(&copy.pci, &nic_bench.pci);
    pci_bench_free(&copy.pci);
}
END_TEST

int main(int argc, char **argv)
{
    const TTest *const tests[] = {
        identity_and_eeprom,
        configuration_is_locked,
        link_is_seen,
        timer_counts_pci_clocks,
        four_descriptors_take_turns,
        ring_wraps_and_holds_back,
        ring_without_wrap_goes_on_behind_its_end,
        address_filters,
        loopback,
        plus_receives_over_descriptors,
        plus_takes_vlan_tags_off_and_puts_them_on,
        plus_sends_with_checksums,
        plus_sends_large_frames_in_segments,
        large_sends_are_cut_in_pieces_of_time,
        counters_are_dumped,
        noise_does_no_harm,
        saved_in_the_middle,
    };
    if (argc > 1)
        noise_steps = (unsigned)strtoul(argv[1], NULL, 10);
    return suite_main("rtl8139", setup, teardown, tests, sizeof tests / sizeof *tests);
}
