/*
 * What the machine's monitor says about itself: an EDID 1.4 block.
 */
#ifndef DOPPEL_HW_DISPLAY_EDID_H
#define DOPPEL_HW_DISPLAY_EDID_H

#include <stdint.h>

#define EDID_SIZE 128

/* A monitor that prefers 1280x800 and shows up to 2560x1600. */
void edid_build(uint8_t edid[EDID_SIZE]);

#endif
