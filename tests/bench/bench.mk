# `make bench` and `make bench-micro`: speed beside native execution and QEMU (docs/performance.md).

BENCH_BUILD = $(BUILD)/tests/bench
BENCH_PROGRAMS := $(basename $(notdir $(wildcard tests/bench/programs/*.c)))
BENCH_COMMANDS := $(notdir $(wildcard tests/bench/commands/*))
# What is /bench in the guests.
BENCH_FILES = $(addprefix $(BENCH_BUILD)/root/bench/,$(BENCH_PROGRAMS) $(BENCH_COMMANDS:%=commands/%))
BENCH_GUESTS = .cache/guests
# The same on every system: static, x86-64-v2, loops stay the loops that they are.
# Always gcc: the figures shall differ by the system, not by the compiler.
BENCH_CC = gcc
BENCH_CFLAGS = -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -O2 -march=x86-64-v2 -fno-math-errno -fno-tree-loop-distribute-patterns
BENCH_PACKAGES = mmdebstrap uidmap e2fsprogs qemu-system-x86
USERLAND_PACKAGES = $(BENCH_PACKAGES) openssl
BENCH_RUN = $(BENCH_BUILD)/bench $(BUILD) $(BENCH_GUESTS)

.PHONY: bench bench-quick bench-code bench-jit bench-verify
bench: bench-disk
	$(Q)SET=debian $(BENCH_RUN)
bench-quick: doppel $(BENCH_BUILD)/bench
	$(Q)tests/guests.sh amd64
	$(Q)$(MAKE) --no-print-directory $(BENCH_BUILD)/initrd
	$(Q)SET=quick $(BENCH_RUN)

# Not for their speed: guests that make and change code print what they print natively, and no translation
# differs from the interpreter.
BENCH_COMPARE = ROUNDS=1 SYSTEMS=native,doppel $(BENCH_RUN)
BENCH_CODE = SET=code $(BENCH_COMPARE)
BENCH_JIT = SET=jit $(BENCH_COMPARE)
BENCH_VERIFY = SET=debian SCALE=1 LIMIT=3600 DOPPEL_OPTIONS=--verify $(BENCH_COMPARE)
bench-code: bench-code-guest
	$(Q)$(BENCH_CODE)
bench-jit: bench-disk
	$(Q)$(BENCH_JIT)
bench-verify: bench-disk
	$(Q)$(BENCH_VERIFY)

# The guest with LuaJIT in its initial RAM disk.
.PHONY: bench-code-guest
bench-code-guest: doppel $(BENCH_BUILD)/bench
	$(Q)tests/guests.sh amd64 luajit
	$(Q)$(MAKE) --no-print-directory $(BENCH_BUILD)/initrd-luajit

# The guest with a root from Debian packages on a disk.
.PHONY: bench-disk
bench-disk: doppel $(BENCH_BUILD)/bench
	@tests/deps.sh $(BENCH_PACKAGES)
	$(Q)tests/guests.sh amd64 bench
	$(Q)$(MAKE) --no-print-directory $(BENCH_BUILD)/initrd-disk

$(BENCH_BUILD)/root/bench/%: tests/bench/programs/%.c tests/bench/programs/bench.h
	@mkdir -p $(@D)
	@echo "  CC    $< (static)"
	$(Q)$(BENCH_CC) $(BENCH_CFLAGS) -static -s -o $@ $< -lm
$(BENCH_BUILD)/root/bench/commands/%: tests/bench/commands/%
	@mkdir -p $(@D)
	$(Q)cp $< $@

# Initial RAM disks: the benchmark's files and empty folders, and what a guest adds to them.
define bench_initrd
$(BENCH_BUILD)/$(1): $$(BENCH_FILES) $(2:%=$(BENCH_GUESTS)/%/complete)
	@echo "  CPIO  $$@"
	$$(Q)rm -rf $$@.root && mkdir -p $$@.root/dev $$@.root/root $$@.root/tmp
	$$(Q)$(if $(2),cp -a $(BENCH_GUESTS)/$(2)/$(3) $$@.root/)
	$$(Q)cp -a $(BENCH_BUILD)/root/bench $$@.root/
	$$(Q)(cd $$@.root && find . | LC_ALL=C sort | cpio --quiet -o -H newc) >$$@.tmp && mv $$@.tmp $$@
endef
$(eval $(call bench_initrd,initrd))
$(eval $(call bench_initrd,initrd-disk,bench,modules))
$(eval $(call bench_initrd,initrd-luajit,luajit,root/*))

$(BENCH_BUILD)/bench: $(addprefix $(BENCH_BUILD)/,bench.c.o workloads.c.o measure.c.o report.c.o run.c.o)
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

# -- Disk and network throughput beside QEMU --

BENCH_IO = $(BENCH_BUILD)/io/guest $(BENCH_BUILD)/io/host
$(BENCH_BUILD)/io/%: tests/bench/io/%.c
	@mkdir -p $(@D)
	@echo "  CC    $< (static)"
	$(Q)$(BENCH_CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -O2 -static -s -o $@ $<
.PHONY: bench-io
bench-io: doppel $(BENCH_IO)
	@tests/deps.sh qemu-system-x86
	$(Q)tests/guests.sh amd64
	$(Q)tests/bench/io/io.sh $(BUILD) $(ROUNDS)
