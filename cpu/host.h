/*
 * What the host processor can do. On hosts that are no x86 processors it has none of the features.
 */
#ifndef DOPPEL_CPU_HOST_H
#define DOPPEL_CPU_HOST_H

#include "cpu/isa.h"

/* Can a program on this host use the feature? For those of vectors this includes the host's system.
 */
bool host_has_feature(enum cpu_feature feature);
/* For tests: from now on the host counts as one without the feature. Before the first processor is
 * made. */
void host_hide_feature(enum cpu_feature feature);
/* Does each lane of a dot product add in an order of its own (Intel's processors), so that of
 * several NaNs it has another; or do all have one sum? */
bool host_adds_crosswise(void);
/* The host processor's name for itself (CPUID 80000002-4), empty if it has none. */
const char *host_brand(void);

#endif
