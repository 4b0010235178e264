/*
 * Registers, descriptors and PHY of the 82540EM, by the names and offsets of the PCI/PCI-X Family
 * of Gigabit Ethernet Controllers Software Developer's Manual (Intel 317453), chapter 13.
 *
 * A register's name is its index in the register file: byte offset / 4.
 */
#ifndef DOPPEL_HW_NETWORK_E1000_REGS_H
#define DOPPEL_HW_NETWORK_E1000_REGS_H

enum e1000_reg {
    CTRL = 0x0000 / 4,
    STATUS = 0x0008 / 4,
    EECD = 0x0010 / 4,
    EERD = 0x0014 / 4,
    CTRL_EXT = 0x0018 / 4,
    MDIC = 0x0020 / 4,
    FCAL = 0x0028 / 4,
    FCAH = 0x002c / 4,
    FCT = 0x0030 / 4,
    VET = 0x0038 / 4,
    ICR = 0x00c0 / 4,
    ITR = 0x00c4 / 4,
    ICS = 0x00c8 / 4,
    IMS = 0x00d0 / 4,
    IMC = 0x00d8 / 4,
    RCTL = 0x0100 / 4,
    FCTTV = 0x0170 / 4,
    TXCW = 0x0178 / 4,
    RXCW = 0x0180 / 4,
    TCTL = 0x0400 / 4,
    TIPG = 0x0410 / 4,
    AIFS = 0x0458 / 4,
    LEDCTL = 0x0e00 / 4,
    PBA = 0x1000 / 4,
    FCRTL = 0x2160 / 4,
    FCRTH = 0x2168 / 4,
    RDBAL = 0x2800 / 4,
    RDBAH = 0x2804 / 4,
    RDLEN = 0x2808 / 4,
    RDH = 0x2810 / 4,
    RDT = 0x2818 / 4,
    RDTR = 0x2820 / 4,
    RXDCTL = 0x2828 / 4,
    RADV = 0x282c / 4,
    RSRPD = 0x2c00 / 4,
    TDFH = 0x3410 / 4,
    TDFPC = 0x3430 / 4,
    TDBAL = 0x3800 / 4,
    TDBAH = 0x3804 / 4,
    TDLEN = 0x3808 / 4,
    TDH = 0x3810 / 4,
    TDT = 0x3818 / 4,
    TIDV = 0x3820 / 4,
    TXDCTL = 0x3828 / 4,
    TADV = 0x382c / 4,
    TSPMT = 0x3830 / 4,
    CRCERRS = 0x4000 / 4, /* first statistics register */
    MPC = 0x4010 / 4,
    PRC64 = 0x405c / 4, /* and five more by size */
    GPRC = 0x4074 / 4,
    BPRC = 0x4078 / 4,
    MPRC = 0x407c / 4,
    GPTC = 0x4080 / 4,
    GORCL = 0x4088 / 4,
    GOTCL = 0x4090 / 4,
    RNBC = 0x40a0 / 4,
    ROC = 0x40ac / 4,
    TORL = 0x40c0 / 4,
    TOTL = 0x40c8 / 4,
    TPR = 0x40d0 / 4,
    TPT = 0x40d4 / 4,
    PTC64 = 0x40d8 / 4, /* and five more by size */
    MPTC = 0x40f0 / 4,
    BPTC = 0x40f4 / 4,
    TSCTC = 0x40f8 / 4,
    STATISTICS_LAST = 0x4124 / 4,
    RXCSUM = 0x5000 / 4,
    MTA = 0x5200 / 4,  /* 128 registers */
    RAL0 = 0x5400 / 4, /* 16 pairs */
    RAH0 = 0x5404 / 4,
    VFTA = 0x5600 / 4, /* 128 registers */
    WUC = 0x5800 / 4,
    WUFC = 0x5808 / 4,
    WUS = 0x5810 / 4,
    MANC = 0x5820 / 4,
    E1000_REGISTERS = 0x5900 / 4,
};

#define CTRL_FD           0x00000001u
#define CTRL_SLU          0x00000040u
#define CTRL_RST          0x04000000u
#define CTRL_VME          0x40000000u
#define CTRL_PHY_RST      0x80000000u

#define STATUS_FD         0x01u
#define STATUS_LU         0x02u
#define STATUS_SPEED_1000 0x80u
#define STATUS_ASDV_1000  0x200u

#define EECD_SK           0x001u
#define EECD_CS           0x002u
#define EECD_DI           0x004u
#define EECD_DO           0x008u
#define EECD_REQ          0x040u
#define EECD_GNT          0x080u
#define EECD_PRES         0x100u

#define EERD_START        0x01u
#define EERD_DONE         0x10u

#define MDIC_OP_WRITE     1u
#define MDIC_OP_READ      2u
#define MDIC_READY        0x10000000u
#define MDIC_INTERRUPT    0x20000000u
#define MDIC_ERROR        0x40000000u

/* Interrupt causes. */
#define ICR_TXDW     0x0001u /* transmit descriptor written back */
#define ICR_TXQE     0x0002u /* transmit queue empty */
#define ICR_LSC      0x0004u /* link status change */
#define ICR_RXDMT0   0x0010u /* receive descriptors at minimum threshold */
#define ICR_RXO      0x0040u /* receiver overrun */
#define ICR_RXT0     0x0080u /* receive timer */
#define ICR_MDAC     0x0200u /* MDIO access complete */

#define RCTL_EN      0x00000002u
#define RCTL_UPE     0x00000008u
#define RCTL_MPE     0x00000010u
#define RCTL_LPE     0x00000020u
#define RCTL_LBM     0x000000c0u
#define RCTL_LBM_MAC 0x00000040u
#define RCTL_BAM     0x00008000u
#define RCTL_VFE     0x00040000u
#define RCTL_BSEX    0x02000000u
#define RCTL_SECRC   0x04000000u

#define TCTL_EN      0x02u
#define TCTL_PSP     0x08u

#define RXCSUM_IPOFL 0x100u
#define RXCSUM_TUOFL 0x200u

#define RAH_AV       0x80000000u
#define RAH_WRITABLE 0x8003ffffu
#define RDTR_FPD     0x80000000u

/* Transmit descriptors: command byte, status byte, options of data descriptors. */
#define TXD_CMD_EOP    0x01
#define TXD_CMD_IC     0x04 /* legacy: insert checksum */
#define TXD_CMD_TSE    0x04 /* data: segmentation */
#define TXD_CMD_RS     0x08
#define TXD_CMD_RPS    0x10
#define TXD_CMD_DEXT   0x20
#define TXD_CMD_VLE    0x40
#define TXD_CMD_IDE    0x80
#define TXD_STA_DD     0x01
#define TXD_POPTS_IXSM 0x01
#define TXD_POPTS_TXSM 0x02
#define TXD_TUCMD_TCP  0x01
#define TXD_TUCMD_IP   0x02 /* IPv4 */

/* Receive descriptors: status and error bytes. */
#define RXD_STA_DD    0x01
#define RXD_STA_EOP   0x02
#define RXD_STA_IXSM  0x04
#define RXD_STA_VP    0x08
#define RXD_STA_TCPCS 0x20
#define RXD_STA_IPCS  0x40
#define RXD_ERR_TCPE  0x20
#define RXD_ERR_IPE   0x40

/* PHY registers (IEEE 802.3 clause 22, and the M88E1011's own). */
#define PHY_CONTROL          0
#define PHY_STATUS           1
#define PHY_ID1              2
#define PHY_ID2              3
#define PHY_ADVERTISE        4
#define PHY_PARTNER          5
#define PHY_EXPANSION        6
#define PHY_1000T_CONTROL    9
#define PHY_1000T_STATUS     10
#define PHY_SPECIFIC_CONTROL 16
#define PHY_SPECIFIC_STATUS  17
#define PHY_EXTENDED_CONTROL 20

#define PHY_CONTROL_RESET    0x8000u
#define PHY_CONTROL_LOOPBACK 0x4000u
#define PHY_CONTROL_RESTART  0x0200u
#define PHY_STATUS_LINK      0x0004u
#define PHY_STATUS_AN_DONE   0x0020u
#define PHY_SPECIFIC_LINK    0x0400u

#endif
