/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of the FITS writer: header cards, table layout, big-endian rows. */
#pragma once

#include "file.h"

enum {
  FITS_TEXT = 65 /* characters of text in one card; longer text continues in CONTINUE cards, announced by LONGSTRN */
};
/** Whether text may need CONTINUE cards; a quote counts twice. */
bool fits_text_is_long(const char *text);
/** Append n cards as syz_fits_cards_add does. */
syz_status fits_cards_add_all(syz_fits_cards *c, const syz_fits_card *card, int n);
/** END and blanks up to the block; *bytes is the header's size. */
syz_status fits_cards_end(syz_fits_cards *c, size_t *bytes);
/** Put DATASUM and CHECKSUM (both must be there) for a data sum below 2^32. */
syz_status fits_cards_seal(syz_fits_cards *c, size_t bytes, uint32_t data_sum);
/** SIMPLE .. EXTEND, then the caller's cards, then placeholders for the checksums. */
syz_status fits_cards_primary(syz_fits_cards *c, const syz_fits_card *cards, int n_cards);
/** XTENSION .. TTYPEn/TFORMn/TUNITn/TDIMn/TCOMMn and the caller's cards. *row_bytes out. */
syz_status fits_cards_table(syz_fits_cards *c, const char *extname, int64_t rows, const syz_fits_column *columns,
                            int n_columns, const syz_fits_card *cards, int n_cards, int64_t *row_bytes);

/** Bytes of one item of a column type, 0 for a type that is not written. */
int fits_item_bytes(char type);
/** Rows [0, n) of data[c] as big-endian bytes, row after row. */
void fits_pack_rows(unsigned char *out, const syz_fits_column *columns, int n_columns, int64_t row_bytes,
                    const void *const *data, int64_t first, int64_t n);
/** n items of 1, 2, 4 or 8 bytes to big-endian. */
void fits_swap(unsigned char *out, const unsigned char *in, int64_t n, int item);
