# `make bench` and `make bench-micro`: speed beside native execution and QEMU (docs/performance.md).

BENCH_BUILD = $(BUILD)/tests/bench
BENCH_PROGRAMS := $(basename $(notdir $(wildcard tests/bench/programs/*.c)))
BENCH_GUEST = .cache/guests/amd64
# The same on every system: static, x86-64-v2, loops stay the loops that they are.
BENCH_CFLAGS = -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -O2 -march=x86-64-v2 -fno-math-errno -fno-tree-loop-distribute-patterns

.PHONY: bench
bench: doppel $(BENCH_BUILD)/bench $(BENCH_BUILD)/initrd
	$(Q)tests/guests.sh amd64
	$(Q)$(BENCH_BUILD)/bench $(BUILD) $(BENCH_GUEST)

$(BENCH_BUILD)/programs/%: tests/bench/programs/%.c tests/bench/programs/bench.h
	@mkdir -p $(@D)
	@echo "  CC    $< (static)"
	$(Q)$(CC) $(BENCH_CFLAGS) -static -s -o $@ $< -lm

$(BENCH_BUILD)/initrd: $(BENCH_PROGRAMS:%=$(BENCH_BUILD)/programs/%)
	@echo "  CPIO  $@"
	$(Q)rm -rf $@.root && mkdir -p $@.root/bench $@.root/dev
	$(Q)cp $^ $@.root/bench/ && mv $@.root/bench/init $@.root/init
	$(Q)(cd $@.root && find . | LC_ALL=C sort | cpio --quiet -o -H newc) >$@.tmp && mv $@.tmp $@

$(BENCH_BUILD)/bench: $(BENCH_BUILD)/bench.c.o $(BENCH_BUILD)/run.c.o
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lm
