# `make bench` and `make bench-micro`: speed beside native execution and QEMU (docs/performance.md).

BENCH_BUILD = $(BUILD)/tests/bench
BENCH_PROGRAMS := $(basename $(notdir $(wildcard tests/bench/programs/*.c)))
BENCH_GUEST = .cache/guests/amd64
# The same on every system: static, x86-64-v2, loops stay the loops that they are.
# Always gcc: the figures shall differ by the system, not by the compiler.
BENCH_CC = gcc
BENCH_CFLAGS = -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -O2 -march=x86-64-v2 -fno-math-errno -fno-tree-loop-distribute-patterns

.PHONY: bench
bench: doppel $(BENCH_BUILD)/bench $(BENCH_BUILD)/initrd
	$(Q)tests/guests.sh amd64
	$(Q)$(BENCH_BUILD)/bench $(BUILD) $(BENCH_GUEST)

$(BENCH_BUILD)/programs/%: tests/bench/programs/%.c tests/bench/programs/bench.h
	@mkdir -p $(@D)
	@echo "  CC    $< (static)"
	$(Q)$(BENCH_CC) $(BENCH_CFLAGS) -static -s -o $@ $< -lm

$(BENCH_BUILD)/initrd: $(BENCH_PROGRAMS:%=$(BENCH_BUILD)/programs/%)
	@echo "  CPIO  $@"
	$(Q)rm -rf $@.root && mkdir -p $@.root/bench $@.root/dev
	$(Q)cp $^ $@.root/bench/ && mv $@.root/bench/init $@.root/init
	$(Q)(cd $@.root && find . | LC_ALL=C sort | cpio --quiet -o -H newc) >$@.tmp && mv $@.tmp $@

$(BENCH_BUILD)/bench: $(BENCH_BUILD)/bench.c.o $(BENCH_BUILD)/run.c.o
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lm

# -- Bare metal: the same tests as a boot sector's guest and, as far as possible, as a program --

MICRO_CFLAGS = -std=gnu11 $(WARNINGS) -I tests/bench/micro -O2 -mno-red-zone -fno-stack-protector -fcf-protection=none
MICRO_GUEST_CFLAGS = $(MICRO_CFLAGS) -m64 -ffreestanding -fno-pic -mgeneral-regs-only -fno-asynchronous-unwind-tables
MICRO_PARTS = $(addprefix $(BENCH_BUILD)/micro/,start.o kernel.o user.o)

.PHONY: bench-micro
bench-micro: doppel $(BENCH_BUILD)/micro-compare $(BENCH_BUILD)/micro-native $(BENCH_BUILD)/micro.img
	$(Q)$(BENCH_BUILD)/micro-compare $(BUILD)

$(BENCH_BUILD)/micro/%.o: tests/bench/micro/%.c tests/bench/micro/micro.h
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(BENCH_CC) $(MICRO_GUEST_CFLAGS) -c -o $@ $<
$(BENCH_BUILD)/micro/%.o: tests/bench/micro/%.S
	@mkdir -p $(@D)
	@echo "  AS    $<"
	$(Q)$(BENCH_CC) -m64 -c -o $@ $<

$(BENCH_BUILD)/micro.img: $(MICRO_PARTS) tests/bench/micro/image.ld
	@echo "  IMAGE $@"
	$(Q)$(LD) -m elf_x86_64 -static --no-warn-rwx-segments -T tests/bench/micro/image.ld -o $@.elf $(MICRO_PARTS)
	$(Q)objcopy -O binary $@.elf $@.tmp && truncate -s 1M $@.tmp && mv $@.tmp $@

$(BENCH_BUILD)/micro-native: tests/bench/micro/native.c tests/bench/micro/user.c tests/bench/micro/micro.h
	@mkdir -p $(@D)
	@echo "  CC    $< (static)"
	$(Q)$(BENCH_CC) $(MICRO_CFLAGS) -static -o $@ $(filter %.c,$^)

$(BENCH_BUILD)/micro-compare: $(BENCH_BUILD)/micro.c.o $(BENCH_BUILD)/run.c.o
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^
