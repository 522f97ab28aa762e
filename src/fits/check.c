/* SPDX-License-Identifier: BSD-3-Clause */
/** Verifies all checksums of a FITS file at once; reading verifies those of an HDU at its first use. */
#include "file.h"

syz_status syz_fits_check(syz_fits *f, int *summed)
{
  syz_status st = SYZ_OK;
  char text[72];
  *summed = 0;
  for (int h = 0; h < syz_fits_count(f); h++) {
    SYZ_TRY(fits_verify(f, h));
    *summed +=
        syz_fits_key_text(f, h, "DATASUM", text, sizeof text) && syz_fits_key_text(f, h, "CHECKSUM", text, sizeof text);
  }
cleanup:
  return st;
}
