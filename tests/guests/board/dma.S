/*
 * Code that somebody else changes: a device writes over instructions by DMA, here the firmware configuration
 * device with the four bytes of its signature, which are PUSH ECX, INC EBP, DEC EBP, PUSH EBP.
 */
#define ON_BOARD
#include "tests/guests/guest.inc"

#define PORT_SELECTOR 0x510
#define PORT_DMA      0x514 /* address of the request: upper half, lower half, most significant byte first */
#define DMA_READ      2
#define COPY          0x200000
#define ROUNDS        60

/* The four bytes to the address in EDI. */
.macro DEVICE_WRITES
    mov eax, edi
    bswap eax
    mov [request_address + 4], eax
    mov dword ptr [request], (8 | DMA_READ) << 24 /* selects item 0 and reads it */
    mov edx, PORT_DMA
    xor eax, eax
    out dx, eax
    mov eax, offset request
    bswap eax
    add edx, 4
    out dx, eax
1:  cmp dword ptr [request], 0
    jne 1b
.endm
/* Calls the code in EBX: how far did it move the stack pointer? */
.macro MOVED_BY bytes
    mov esi, esp
    call ebx
    EQUAL(eax, \bytes)
.endm

START
    in al, 0x92 /* A20 */
    or al, 2
    out 0x92, al
    ENTER_PROTECTED
    CATCH_ALL32
    mov edx, PORT_SELECTOR
    xor eax, eax
    out dx, ax
    inc edx
    in al, dx
    EQUAL(al, 0x51) /* 'Q': it is there */

    /* Within a page, across two, at the end of one and at the start of the next; hot each time. */
    mov ebp, offset places
next_place:
    mov ebx, [ebp]
    mov dword ptr [rounds], ROUNDS
again:
    /* NOPs, then: mov eax, esi; sub eax, esp; mov esp, esi; sub esp, 4; ret */
    mov edi, ebx
    mov eax, 0x90909090
    stosd
    mov esi, offset epilogue
    mov ecx, epilogue_end - epilogue
    rep movsb
    mov dword ptr [count], 20
1:  MOVED_BY 4 /* the return address */
    dec dword ptr [count]
    jnz 1b
    mov edi, ebx
    DEVICE_WRITES
    MOVED_BY 12
    MOVED_BY 12
    dec dword ptr [rounds]
    jnz again
    add ebp, 4
    cmp ebp, offset places_end
    jb next_place

    /* The instruction behind the OUT that starts it, hot too */
    mov dword ptr [rounds], ROUNDS
next_round:
    mov dword ptr [patched], 0x90909090
    mov ecx, 10
2:  push ecx
    mov esi, esp
    call patched_function
    EQUAL(eax, 0)
    pop ecx
    loop 2b
    mov edi, offset patched
    mov eax, edi
    bswap eax
    mov [request_address + 4], eax
    mov dword ptr [request], (8 | DMA_READ) << 24
    mov edx, PORT_DMA
    xor eax, eax
    out dx, eax
    mov eax, offset request
    bswap eax
    add edx, 4
    mov esi, esp
    call changing_function
    EQUAL(eax, 8)
    dec dword ptr [rounds]
    jnz next_round
    PASS

    .balign 64
patched_function:
    nop
    mov edx, 0x80
    mov eax, 0
changing_function:
    out dx, eax
patched:
    nop
    nop
    nop
    nop
    mov eax, esi
    sub eax, esp
    sub eax, 4
    lea esp, [esi - 4]
    ret

epilogue:
    mov eax, esi
    sub eax, esp
    lea esp, [esi - 4]
    ret
epilogue_end:

CATCHERS32
    .balign 8
request: .long 0
    .long 4 << 24
request_address: .quad 0
places: .long COPY, COPY + 0xffe, COPY + 0xffc, COPY + 0x1000, COPY + 0x2fff
places_end:
rounds: .long 0
count: .long 0

TABLES_BEGIN
TABLES_END
