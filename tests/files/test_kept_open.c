/* SPDX-License-Identifier: BSD-3-Clause */
/** A file that is open is found in its slot; of a full list the one that was not used for longest gives way; a slot
 * whose new file could not be opened is empty. */
#include "check.h"
#include "syzygy/files.h"

int main(void)
{
  enum { SLOTS = 3 };
  syz_kept_open k = {0};
  int slot = -1;
  CHECK(!syz_kept_open_find(&k, SLOTS, 0, &slot)); /* number 0 too is not there at first */
  for (int file = 0; file < SLOTS; file++) {
    CHECK(!syz_kept_open_find(&k, SLOTS, file, &slot));
    CHECK(slot == file);
    syz_kept_open_put(&k, slot, file);
  }
  CHECK(syz_kept_open_find(&k, SLOTS, 0, &slot) && slot == 0);
  CHECK(!syz_kept_open_find(&k, SLOTS, 7, &slot) && slot == 1 && k.slot[slot].file == 1);
  syz_kept_open_put(&k, slot, 7);
  CHECK(syz_kept_open_find(&k, SLOTS, 7, &slot) && slot == 1);
  CHECK(!syz_kept_open_find(&k, SLOTS, 1, &slot) && slot == 2); /* 0 and 7 were used since */
  CHECK(!syz_kept_open_find(&k, SLOTS, 2, &slot) && slot == 2); /* 1 was not put: its slot is empty, and 2 is gone */
  syz_kept_open_put(&k, slot, 2);
  CHECK(syz_kept_open_find(&k, SLOTS, 0, &slot) && slot == 0);
  return CHECK_RESULT();
}
