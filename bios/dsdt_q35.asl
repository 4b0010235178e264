/*
 * Differentiated System Description Table of the Q35 + ICH9 board (ACPI 6.4, chapters 5-6; PCI
 * Firmware 3.1, section 4.5 for _OSC).
 *
 * It describes fixed wiring (hw/pc.c), but for the address windows (dsdt_windows.asi).
 */
DefinitionBlock ("dsdt_q35.aml", "DSDT", 2, "DOPPEL", "DOPPELPC", 1)
{
    /* SLP_TYP as hw/chipset/ich9_lpc.h has it. */
    Name (\_S3, Package () { 0x01, 0x01, 0x00, 0x00 })
    Name (\_S5, Package () { 0x00, 0x00, 0x00, 0x00 })

    /* 0: the 8259 pair is in use, 1: the I/O APIC */
    Name (\PICF, 0)
    Method (\_PIC, 1, NotSerialized) { \PICF = Arg0 }

    Scope (\_SB)
    {
        #include "dsdt_board.asi"

        /* "DPPLECAM": the memory-mapped configuration space, filled as WIND is. */
        Name (ECAM, Buffer (24)
        {
            0x44, 0x50, 0x50, 0x4C, 0x45, 0x43, 0x41, 0x4D,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00
        })
        Device (DRAC)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (BUF0, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xB0000000, 0x10000000)
                Memory32Fixed (ReadWrite, 0xFED1C000, 0x00004000)
            })
            Method (_CRS, 0, Serialized)
            {
                CreateDWordField (ECAM, 8, BASE)
                CreateDWordField (ECAM, 16, SIZE)
                CreateDWordField (BUF0, 4, BAS1) /* of the first descriptor */
                CreateDWordField (BUF0, 8, LEN1)
                BAS1 = BASE
                LEN1 = SIZE
                Return (BUF0)
            }
        }

        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_BBN, 0)

            #include "dsdt_windows.asi"

            /* The guest may have all of PCI Express: hot-plug, power management events, errors. */
            Method (_OSC, 4, Serialized)
            {
                CreateDWordField (Arg3, 0, CDW1)
                If (Arg0 == ToUUID ("33DB4D5B-1FF7-401C-9657-7441C03DD766"))
                {
                    CreateDWordField (Arg3, 8, CDW3)
                    Local0 = CDW3 & 0x1F
                    If (Arg1 != 1)
                    {
                        CDW1 |= 0x08 /* unknown revision */
                    }
                    If (CDW3 != Local0)
                    {
                        CDW1 |= 0x10 /* some control was not granted */
                    }
                    CDW3 = Local0
                }
                Else
                {
                    CDW1 |= 0x04 /* unknown UUID */
                }
                Return (Arg3)
            }

            /* Slots below 25: pin p of slot s leads to PIRQ E + (s + p) mod 4; the chipset's own
             * devices from 25 up as D25IR to D31IR say after reset. Each row of four is one slot. */
            Name (PRTP, Package ()
            {
                Package () { 0x0001FFFF, 0, LNKF, 0 }, Package () { 0x0001FFFF, 1, LNKG, 0 }, Package () { 0x0001FFFF, 2, LNKH, 0 }, Package () { 0x0001FFFF, 3, LNKE, 0 },
                Package () { 0x0002FFFF, 0, LNKG, 0 }, Package () { 0x0002FFFF, 1, LNKH, 0 }, Package () { 0x0002FFFF, 2, LNKE, 0 }, Package () { 0x0002FFFF, 3, LNKF, 0 },
                Package () { 0x0003FFFF, 0, LNKH, 0 }, Package () { 0x0003FFFF, 1, LNKE, 0 }, Package () { 0x0003FFFF, 2, LNKF, 0 }, Package () { 0x0003FFFF, 3, LNKG, 0 },
                Package () { 0x0004FFFF, 0, LNKE, 0 }, Package () { 0x0004FFFF, 1, LNKF, 0 }, Package () { 0x0004FFFF, 2, LNKG, 0 }, Package () { 0x0004FFFF, 3, LNKH, 0 },
                Package () { 0x0005FFFF, 0, LNKF, 0 }, Package () { 0x0005FFFF, 1, LNKG, 0 }, Package () { 0x0005FFFF, 2, LNKH, 0 }, Package () { 0x0005FFFF, 3, LNKE, 0 },
                Package () { 0x0006FFFF, 0, LNKG, 0 }, Package () { 0x0006FFFF, 1, LNKH, 0 }, Package () { 0x0006FFFF, 2, LNKE, 0 }, Package () { 0x0006FFFF, 3, LNKF, 0 },
                Package () { 0x0007FFFF, 0, LNKH, 0 }, Package () { 0x0007FFFF, 1, LNKE, 0 }, Package () { 0x0007FFFF, 2, LNKF, 0 }, Package () { 0x0007FFFF, 3, LNKG, 0 },
                Package () { 0x0008FFFF, 0, LNKE, 0 }, Package () { 0x0008FFFF, 1, LNKF, 0 }, Package () { 0x0008FFFF, 2, LNKG, 0 }, Package () { 0x0008FFFF, 3, LNKH, 0 },
                Package () { 0x0009FFFF, 0, LNKF, 0 }, Package () { 0x0009FFFF, 1, LNKG, 0 }, Package () { 0x0009FFFF, 2, LNKH, 0 }, Package () { 0x0009FFFF, 3, LNKE, 0 },
                Package () { 0x000AFFFF, 0, LNKG, 0 }, Package () { 0x000AFFFF, 1, LNKH, 0 }, Package () { 0x000AFFFF, 2, LNKE, 0 }, Package () { 0x000AFFFF, 3, LNKF, 0 },
                Package () { 0x000BFFFF, 0, LNKH, 0 }, Package () { 0x000BFFFF, 1, LNKE, 0 }, Package () { 0x000BFFFF, 2, LNKF, 0 }, Package () { 0x000BFFFF, 3, LNKG, 0 },
                Package () { 0x000CFFFF, 0, LNKE, 0 }, Package () { 0x000CFFFF, 1, LNKF, 0 }, Package () { 0x000CFFFF, 2, LNKG, 0 }, Package () { 0x000CFFFF, 3, LNKH, 0 },
                Package () { 0x000DFFFF, 0, LNKF, 0 }, Package () { 0x000DFFFF, 1, LNKG, 0 }, Package () { 0x000DFFFF, 2, LNKH, 0 }, Package () { 0x000DFFFF, 3, LNKE, 0 },
                Package () { 0x000EFFFF, 0, LNKG, 0 }, Package () { 0x000EFFFF, 1, LNKH, 0 }, Package () { 0x000EFFFF, 2, LNKE, 0 }, Package () { 0x000EFFFF, 3, LNKF, 0 },
                Package () { 0x000FFFFF, 0, LNKH, 0 }, Package () { 0x000FFFFF, 1, LNKE, 0 }, Package () { 0x000FFFFF, 2, LNKF, 0 }, Package () { 0x000FFFFF, 3, LNKG, 0 },
                Package () { 0x0010FFFF, 0, LNKE, 0 }, Package () { 0x0010FFFF, 1, LNKF, 0 }, Package () { 0x0010FFFF, 2, LNKG, 0 }, Package () { 0x0010FFFF, 3, LNKH, 0 },
                Package () { 0x0011FFFF, 0, LNKF, 0 }, Package () { 0x0011FFFF, 1, LNKG, 0 }, Package () { 0x0011FFFF, 2, LNKH, 0 }, Package () { 0x0011FFFF, 3, LNKE, 0 },
                Package () { 0x0012FFFF, 0, LNKG, 0 }, Package () { 0x0012FFFF, 1, LNKH, 0 }, Package () { 0x0012FFFF, 2, LNKE, 0 }, Package () { 0x0012FFFF, 3, LNKF, 0 },
                Package () { 0x0013FFFF, 0, LNKH, 0 }, Package () { 0x0013FFFF, 1, LNKE, 0 }, Package () { 0x0013FFFF, 2, LNKF, 0 }, Package () { 0x0013FFFF, 3, LNKG, 0 },
                Package () { 0x0014FFFF, 0, LNKE, 0 }, Package () { 0x0014FFFF, 1, LNKF, 0 }, Package () { 0x0014FFFF, 2, LNKG, 0 }, Package () { 0x0014FFFF, 3, LNKH, 0 },
                Package () { 0x0015FFFF, 0, LNKF, 0 }, Package () { 0x0015FFFF, 1, LNKG, 0 }, Package () { 0x0015FFFF, 2, LNKH, 0 }, Package () { 0x0015FFFF, 3, LNKE, 0 },
                Package () { 0x0016FFFF, 0, LNKG, 0 }, Package () { 0x0016FFFF, 1, LNKH, 0 }, Package () { 0x0016FFFF, 2, LNKE, 0 }, Package () { 0x0016FFFF, 3, LNKF, 0 },
                Package () { 0x0017FFFF, 0, LNKH, 0 }, Package () { 0x0017FFFF, 1, LNKE, 0 }, Package () { 0x0017FFFF, 2, LNKF, 0 }, Package () { 0x0017FFFF, 3, LNKG, 0 },
                Package () { 0x0018FFFF, 0, LNKE, 0 }, Package () { 0x0018FFFF, 1, LNKF, 0 }, Package () { 0x0018FFFF, 2, LNKG, 0 }, Package () { 0x0018FFFF, 3, LNKH, 0 },
                Package () { 0x0019FFFF, 0, LNKA, 0 }, Package () { 0x0019FFFF, 1, LNKB, 0 }, Package () { 0x0019FFFF, 2, LNKC, 0 }, Package () { 0x0019FFFF, 3, LNKD, 0 },
                Package () { 0x001AFFFF, 0, LNKA, 0 }, Package () { 0x001AFFFF, 1, LNKB, 0 }, Package () { 0x001AFFFF, 2, LNKC, 0 }, Package () { 0x001AFFFF, 3, LNKD, 0 },
                Package () { 0x001BFFFF, 0, LNKA, 0 }, Package () { 0x001BFFFF, 1, LNKB, 0 }, Package () { 0x001BFFFF, 2, LNKC, 0 }, Package () { 0x001BFFFF, 3, LNKD, 0 },
                Package () { 0x001CFFFF, 0, LNKA, 0 }, Package () { 0x001CFFFF, 1, LNKB, 0 }, Package () { 0x001CFFFF, 2, LNKC, 0 }, Package () { 0x001CFFFF, 3, LNKD, 0 },
                Package () { 0x001DFFFF, 0, LNKA, 0 }, Package () { 0x001DFFFF, 1, LNKB, 0 }, Package () { 0x001DFFFF, 2, LNKC, 0 }, Package () { 0x001DFFFF, 3, LNKD, 0 },
                Package () { 0x001EFFFF, 0, LNKA, 0 }, Package () { 0x001EFFFF, 1, LNKB, 0 }, Package () { 0x001EFFFF, 2, LNKC, 0 }, Package () { 0x001EFFFF, 3, LNKD, 0 },
                Package () { 0x001FFFFF, 0, LNKA, 0 }, Package () { 0x001FFFFF, 1, LNKB, 0 }, Package () { 0x001FFFFF, 2, LNKC, 0 }, Package () { 0x001FFFFF, 3, LNKD, 0 }
            })
            Name (PRTA, Package ()
            {
                Package () { 0x0001FFFF, 0, 0, 21 }, Package () { 0x0001FFFF, 1, 0, 22 }, Package () { 0x0001FFFF, 2, 0, 23 }, Package () { 0x0001FFFF, 3, 0, 20 },
                Package () { 0x0002FFFF, 0, 0, 22 }, Package () { 0x0002FFFF, 1, 0, 23 }, Package () { 0x0002FFFF, 2, 0, 20 }, Package () { 0x0002FFFF, 3, 0, 21 },
                Package () { 0x0003FFFF, 0, 0, 23 }, Package () { 0x0003FFFF, 1, 0, 20 }, Package () { 0x0003FFFF, 2, 0, 21 }, Package () { 0x0003FFFF, 3, 0, 22 },
                Package () { 0x0004FFFF, 0, 0, 20 }, Package () { 0x0004FFFF, 1, 0, 21 }, Package () { 0x0004FFFF, 2, 0, 22 }, Package () { 0x0004FFFF, 3, 0, 23 },
                Package () { 0x0005FFFF, 0, 0, 21 }, Package () { 0x0005FFFF, 1, 0, 22 }, Package () { 0x0005FFFF, 2, 0, 23 }, Package () { 0x0005FFFF, 3, 0, 20 },
                Package () { 0x0006FFFF, 0, 0, 22 }, Package () { 0x0006FFFF, 1, 0, 23 }, Package () { 0x0006FFFF, 2, 0, 20 }, Package () { 0x0006FFFF, 3, 0, 21 },
                Package () { 0x0007FFFF, 0, 0, 23 }, Package () { 0x0007FFFF, 1, 0, 20 }, Package () { 0x0007FFFF, 2, 0, 21 }, Package () { 0x0007FFFF, 3, 0, 22 },
                Package () { 0x0008FFFF, 0, 0, 20 }, Package () { 0x0008FFFF, 1, 0, 21 }, Package () { 0x0008FFFF, 2, 0, 22 }, Package () { 0x0008FFFF, 3, 0, 23 },
                Package () { 0x0009FFFF, 0, 0, 21 }, Package () { 0x0009FFFF, 1, 0, 22 }, Package () { 0x0009FFFF, 2, 0, 23 }, Package () { 0x0009FFFF, 3, 0, 20 },
                Package () { 0x000AFFFF, 0, 0, 22 }, Package () { 0x000AFFFF, 1, 0, 23 }, Package () { 0x000AFFFF, 2, 0, 20 }, Package () { 0x000AFFFF, 3, 0, 21 },
                Package () { 0x000BFFFF, 0, 0, 23 }, Package () { 0x000BFFFF, 1, 0, 20 }, Package () { 0x000BFFFF, 2, 0, 21 }, Package () { 0x000BFFFF, 3, 0, 22 },
                Package () { 0x000CFFFF, 0, 0, 20 }, Package () { 0x000CFFFF, 1, 0, 21 }, Package () { 0x000CFFFF, 2, 0, 22 }, Package () { 0x000CFFFF, 3, 0, 23 },
                Package () { 0x000DFFFF, 0, 0, 21 }, Package () { 0x000DFFFF, 1, 0, 22 }, Package () { 0x000DFFFF, 2, 0, 23 }, Package () { 0x000DFFFF, 3, 0, 20 },
                Package () { 0x000EFFFF, 0, 0, 22 }, Package () { 0x000EFFFF, 1, 0, 23 }, Package () { 0x000EFFFF, 2, 0, 20 }, Package () { 0x000EFFFF, 3, 0, 21 },
                Package () { 0x000FFFFF, 0, 0, 23 }, Package () { 0x000FFFFF, 1, 0, 20 }, Package () { 0x000FFFFF, 2, 0, 21 }, Package () { 0x000FFFFF, 3, 0, 22 },
                Package () { 0x0010FFFF, 0, 0, 20 }, Package () { 0x0010FFFF, 1, 0, 21 }, Package () { 0x0010FFFF, 2, 0, 22 }, Package () { 0x0010FFFF, 3, 0, 23 },
                Package () { 0x0011FFFF, 0, 0, 21 }, Package () { 0x0011FFFF, 1, 0, 22 }, Package () { 0x0011FFFF, 2, 0, 23 }, Package () { 0x0011FFFF, 3, 0, 20 },
                Package () { 0x0012FFFF, 0, 0, 22 }, Package () { 0x0012FFFF, 1, 0, 23 }, Package () { 0x0012FFFF, 2, 0, 20 }, Package () { 0x0012FFFF, 3, 0, 21 },
                Package () { 0x0013FFFF, 0, 0, 23 }, Package () { 0x0013FFFF, 1, 0, 20 }, Package () { 0x0013FFFF, 2, 0, 21 }, Package () { 0x0013FFFF, 3, 0, 22 },
                Package () { 0x0014FFFF, 0, 0, 20 }, Package () { 0x0014FFFF, 1, 0, 21 }, Package () { 0x0014FFFF, 2, 0, 22 }, Package () { 0x0014FFFF, 3, 0, 23 },
                Package () { 0x0015FFFF, 0, 0, 21 }, Package () { 0x0015FFFF, 1, 0, 22 }, Package () { 0x0015FFFF, 2, 0, 23 }, Package () { 0x0015FFFF, 3, 0, 20 },
                Package () { 0x0016FFFF, 0, 0, 22 }, Package () { 0x0016FFFF, 1, 0, 23 }, Package () { 0x0016FFFF, 2, 0, 20 }, Package () { 0x0016FFFF, 3, 0, 21 },
                Package () { 0x0017FFFF, 0, 0, 23 }, Package () { 0x0017FFFF, 1, 0, 20 }, Package () { 0x0017FFFF, 2, 0, 21 }, Package () { 0x0017FFFF, 3, 0, 22 },
                Package () { 0x0018FFFF, 0, 0, 20 }, Package () { 0x0018FFFF, 1, 0, 21 }, Package () { 0x0018FFFF, 2, 0, 22 }, Package () { 0x0018FFFF, 3, 0, 23 },
                Package () { 0x0019FFFF, 0, 0, 16 }, Package () { 0x0019FFFF, 1, 0, 17 }, Package () { 0x0019FFFF, 2, 0, 18 }, Package () { 0x0019FFFF, 3, 0, 19 },
                Package () { 0x001AFFFF, 0, 0, 16 }, Package () { 0x001AFFFF, 1, 0, 17 }, Package () { 0x001AFFFF, 2, 0, 18 }, Package () { 0x001AFFFF, 3, 0, 19 },
                Package () { 0x001BFFFF, 0, 0, 16 }, Package () { 0x001BFFFF, 1, 0, 17 }, Package () { 0x001BFFFF, 2, 0, 18 }, Package () { 0x001BFFFF, 3, 0, 19 },
                Package () { 0x001CFFFF, 0, 0, 16 }, Package () { 0x001CFFFF, 1, 0, 17 }, Package () { 0x001CFFFF, 2, 0, 18 }, Package () { 0x001CFFFF, 3, 0, 19 },
                Package () { 0x001DFFFF, 0, 0, 16 }, Package () { 0x001DFFFF, 1, 0, 17 }, Package () { 0x001DFFFF, 2, 0, 18 }, Package () { 0x001DFFFF, 3, 0, 19 },
                Package () { 0x001EFFFF, 0, 0, 16 }, Package () { 0x001EFFFF, 1, 0, 17 }, Package () { 0x001EFFFF, 2, 0, 18 }, Package () { 0x001EFFFF, 3, 0, 19 },
                Package () { 0x001FFFFF, 0, 0, 16 }, Package () { 0x001FFFFF, 1, 0, 17 }, Package () { 0x001FFFFF, 2, 0, 18 }, Package () { 0x001FFFFF, 3, 0, 19 }
            })
            Method (_PRT, 0, NotSerialized)
            {
                If (\PICF)
                {
                    Return (PRTA)
                }
                Return (PRTP)
            }

            Device (ISA)
            {
                Name (_ADR, 0x001F0000)

                OperationRegion (PIRQ, PCI_Config, 0x60, 0x0C)
                Field (PIRQ, ByteAcc, NoLock, Preserve)
                {
                    PRQA, 8, PRQB, 8, PRQC, 8, PRQD, 8,
                    Offset (0x08),
                    PRQE, 8, PRQF, 8, PRQG, 8, PRQH, 8
                }

                #include "dsdt_isa.asi"
            }
        }

        /* -- PCI interrupt links: the PIRQ route registers -- */

        #include "dsdt_links.asi"

        Device (LNKA)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQA)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQA |= 0x80 }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQA)) }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_SRS, 1)
            {
                CreateDWordField (Arg0, 0x05, IRQN)
                \_SB.PCI0.ISA.PRQA = IRQN
            }
        }

        Device (LNKB)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 1)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQB)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQB |= 0x80 }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQB)) }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_SRS, 1)
            {
                CreateDWordField (Arg0, 0x05, IRQN)
                \_SB.PCI0.ISA.PRQB = IRQN
            }
        }

        Device (LNKC)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 2)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQC)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQC |= 0x80 }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQC)) }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_SRS, 1)
            {
                CreateDWordField (Arg0, 0x05, IRQN)
                \_SB.PCI0.ISA.PRQC = IRQN
            }
        }

        Device (LNKD)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 3)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQD)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQD |= 0x80 }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQD)) }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_SRS, 1)
            {
                CreateDWordField (Arg0, 0x05, IRQN)
                \_SB.PCI0.ISA.PRQD = IRQN
            }
        }

        Device (LNKE)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 4)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQE)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQE |= 0x80 }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQE)) }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_SRS, 1)
            {
                CreateDWordField (Arg0, 0x05, IRQN)
                \_SB.PCI0.ISA.PRQE = IRQN
            }
        }

        Device (LNKF)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 5)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQF)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQF |= 0x80 }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQF)) }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_SRS, 1)
            {
                CreateDWordField (Arg0, 0x05, IRQN)
                \_SB.PCI0.ISA.PRQF = IRQN
            }
        }

        Device (LNKG)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 6)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQG)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQG |= 0x80 }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQG)) }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_SRS, 1)
            {
                CreateDWordField (Arg0, 0x05, IRQN)
                \_SB.PCI0.ISA.PRQG = IRQN
            }
        }

        Device (LNKH)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 7)
            Method (_STA, 0) { Return (LSTA (\_SB.PCI0.ISA.PRQH)) }
            Method (_DIS, 0) { \_SB.PCI0.ISA.PRQH |= 0x80 }
            Method (_CRS, 0) { Return (LCRS (\_SB.PCI0.ISA.PRQH)) }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_SRS, 1)
            {
                CreateDWordField (Arg0, 0x05, IRQN)
                \_SB.PCI0.ISA.PRQH = IRQN
            }
        }
    }
}
