/* SPDX-License-Identifier: BSD-3-Clause */
/** Files that are kept open: which slot has which, and which one gives way. */
#include "syzygy/files.h"

bool syz_kept_open_find(syz_kept_open *k, int slots, int file, int *slot)
{
  *slot = 0;
  for (int i = 0; i < slots; i++) {
    if (k->slot[i].used && k->slot[i].file == file) {
      k->slot[i].used = ++k->clock;
      *slot = i;
      return true;
    }
    if (k->slot[i].used < k->slot[*slot].used) *slot = i;
  }
  k->slot[*slot].used = 0;
  return false;
}

void syz_kept_open_put(syz_kept_open *k, int slot, int file)
{
  k->slot[slot].file = file;
  k->slot[slot].used = ++k->clock;
}
