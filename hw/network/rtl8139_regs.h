/*
 * Registers and descriptors of the RTL8139C(L) and RTL8139C+, by the names of Realtek's data sheets
 * (RTL8139C(L) 1.4, section 5; RTL8139C+ 1.6, sections 6 and 9).
 */
#ifndef DOPPEL_HW_NETWORK_RTL8139_REGS_H
#define DOPPEL_HW_NETWORK_RTL8139_REGS_H

enum rtl8139_reg {
    IDR0 = 0x00,
    MAR0 = 0x08,
    TSD0 = 0x10,  /* four */
    TSAD0 = 0x20, /* four */
    DTCCR = 0x10, /* C+: in the place of TSD0 and TSD1 */
    TNPDS = 0x20, /* C+: in the place of TSAD */
    THPDS = 0x28,
    RBSTART = 0x30,
    ERBCR = 0x34,
    ERSR = 0x36,
    CR = 0x37,
    CAPR = 0x38,
    CBR = 0x3a,
    IMR = 0x3c,
    ISR = 0x3e,
    TCR = 0x40,
    RCR = 0x44,
    TCTR = 0x48,
    MPC = 0x4c,
    CR9346 = 0x50,
    CONFIG0 = 0x51,
    CONFIG1 = 0x52,
    TIMERINT = 0x54,
    MSR = 0x58,
    CONFIG3 = 0x59,
    CONFIG4 = 0x5a,
    MULINT = 0x5c,
    RERID = 0x5e,
    TSAD = 0x60,
    BMCR = 0x62,
    BMSR = 0x64,
    ANAR = 0x66,
    ANLPAR = 0x68,
    ANER = 0x6a,
    DIS = 0x6c,
    FCSC = 0x6e,
    NWAYTR = 0x70,
    REC = 0x72,
    CSCR = 0x74,
    PHY1_PARM = 0x78,
    TW_PARM = 0x7c,
    PHY2_PARM = 0x80,
    CRC0 = 0x84,
    WAKEUP0 = 0x8c,
    LSBCRC0 = 0xcc,
    CONFIG5 = 0xd8,
    TPPOLL = 0xd9,
    RMS = 0xda,
    CPCR = 0xe0,
    RDSAR = 0xe4,
    ETTHR = 0xec,
    RTL8139_REGISTERS = 0x100,
};

/* Transmit status (TSD). */
#define TSD_SIZE       0x00001fffu
#define TSD_OWN        0x00002000u /* the driver's */
#define TSD_TOK        0x00008000u
#define TSD_WRITABLE   0x003f1fffu /* size and early threshold */
#define TSD_TABT       0x40000000u

#define CR_BUFE        0x01u
#define CR_TE          0x04u
#define CR_RE          0x08u
#define CR_RST         0x10u

#define ISR_ROK        0x0001u
#define ISR_RER        0x0002u
#define ISR_TOK        0x0004u
#define ISR_TER        0x0008u
#define ISR_RXOVW      0x0010u /* C+: no receive descriptor */
#define ISR_LINK       0x0020u /* PUN/LinkChg */
#define ISR_TDU        0x0080u /* C+: no transmit descriptor */
#define ISR_SWINT      0x0100u /* C+ */
#define ISR_TIMEOUT    0x4000u
#define ISR_BITS       0xe1ffu

#define TCR_CLRABT     0x00000001u
#define TCR_CRC        0x00010000u /* do not append it: the driver did */
#define TCR_LBK        0x00060000u
#define TCR_HWVERID    0x7cc00000u
#define TCR_VERSION    0x74000000u /* RTL8139C */
#define TCR_VERSION_CP 0x74800000u /* RTL8139C+ */

#define RCR_AAP        0x00000001u
#define RCR_APM        0x00000002u
#define RCR_AM         0x00000004u
#define RCR_AB         0x00000008u
#define RCR_WRAP       0x00000080u
#define RCR_RBLEN_64K  3u

#define CR9346_EEDO    0x01u
#define CR9346_EEDI    0x02u
#define CR9346_EESK    0x04u
#define CR9346_EECS    0x08u
#define CR9346_MODE    0xc0u
#define CR9346_LOAD    0x40u
#define CR9346_PROGRAM 0x80u
#define CR9346_CONFIG  0xc0u

#define MSR_LINKB      0x04u

#define BMCR_RESET     0x8000u
#define BMCR_RESTART   0x0200u
#define BMSR_LINK      0x0024u /* valid link, negotiation complete */
#define CSCR_LINK      0x0400u

#define TPPOLL_HPQ     0x80u
#define TPPOLL_NPQ     0x40u
#define TPPOLL_FSWINT  0x01u

#define CPCR_TXE       0x0001u
#define CPCR_RXE       0x0002u
#define CPCR_RXCHKSUM  0x0020u
#define CPCR_RXVLAN    0x0040u

#define DTCCR_CMD      0x08u

/* Header of a frame in the receive ring: status, and length with FCS in the upper half. */
#define RXS_ROK 0x0001u
#define RXS_BAR 0x2000u
#define RXS_PAM 0x4000u
#define RXS_MAR 0x8000u

/* C+ descriptors: first word of both kinds, and the VLAN bits of the second. */
#define DESC_OWN     0x80000000u /* the card's */
#define DESC_EOR     0x40000000u
#define DESC_FS      0x20000000u
#define DESC_LS      0x10000000u
#define DESC_VLAN_RX 0x00010000u
#define DESC_VLAN_TX 0x00020000u
#define TXD_LGSEN    0x08000000u
#define TXD_MSS      0x07ff0000u
#define TXD_IPCS     0x00040000u
#define TXD_UDPCS    0x00020000u
#define TXD_TCPCS    0x00010000u
#define TXD_SIZE     0x0000ffffu
#define RXD_MAR      0x04000000u
#define RXD_PAM      0x02000000u
#define RXD_BAR      0x01000000u
#define RXD_UDP      0x00020000u /* PID: 1 TCP, 2 UDP, 3 other IP */
#define RXD_TCP      0x00010000u
#define RXD_IP       0x00030000u
#define RXD_IPF      0x00008000u
#define RXD_UDPF     0x00004000u
#define RXD_TCPF     0x00002000u
#define RXD_SIZE     0x00001fffu

#define DESC_BYTES   16u
#define DESC_RING    64u /* at most */

#endif
