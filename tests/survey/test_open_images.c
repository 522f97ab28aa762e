/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Packed image files that ingest keeps open: their bytes are counted while they are kept and given back when they are
 * taken, when they are closed, and when another cannot be opened or its memory is short.
 */
#include "check.h"
#include "ingest.h"
#include "scratch.h"

enum { SIZE = 160, FILES = 5, BAD = 3, LARGE = 4 };

static void write_image(const char *path)
{
  static float pixels[SIZE * SIZE];
  const int64_t shape[2] = {SIZE, SIZE};
  const double scale = 0.262 / 3600;
  const syz_fits_card cards[] = {SYZ_CARD_TEXT("CTYPE1", "RA---TAN", NULL), SYZ_CARD_TEXT("CTYPE2", "DEC--TAN", NULL),
                                 SYZ_CARD_REAL("CRVAL1", 150.1, NULL),      SYZ_CARD_REAL("CRVAL2", 2.2, NULL),
                                 SYZ_CARD_REAL("CRPIX1", 80.5, NULL),       SYZ_CARD_REAL("CRPIX2", 80.5, NULL),
                                 SYZ_CARD_REAL("CD1_1", -scale, NULL),      SYZ_CARD_REAL("CD1_2", 0, NULL),
                                 SYZ_CARD_REAL("CD2_1", 0, NULL),           SYZ_CARD_REAL("CD2_2", scale, NULL),
                                 SYZ_CARD_TEXT("BUNIT", "nanomaggy", NULL), SYZ_CARD_TEXT("FILTER", "r", NULL)};
  syz_fits_out *o = NULL;
  CHECK_OK(syz_fits_create(path, &o));
  CHECK_OK(syz_fits_out_primary(o, NULL, 0));
  CHECK_OK(syz_fits_out_image(o, "IMAGE", -32, 2, shape, pixels, SYZ_FITS_PLAIN, cards, sizeof cards / sizeof *cards));
  CHECK_OK(syz_fits_out_finish(&o));
}

/* Of the files that are kept: what their unpacked bytes are taken for. */
static size_t kept_bytes(const ingest *g)
{
  size_t bytes = 0;
  for (int i = 0; i < g->n_files; i++)
    if (g->open[i]) bytes += (size_t)g->file[i].bytes * 4;
  return bytes;
}

/* A stage of ingest: each file opened and given back. */
static void stage(ingest *g)
{
  for (int i = 0; i < FILES; i++) {
    syz_images *m = NULL;
    const syz_status st = ingest_open_images(g, i, &m);
    CHECK_EQ(st, i == BAD ? SYZ_ERR_DATA : SYZ_OK);
    CHECK_EQ(g->open_bytes, kept_bytes(g)); /* not counted while it is in use */
    ingest_release_images(g, i, &m);
    CHECK(!m);
    CHECK_EQ(g->open_bytes, kept_bytes(g));
  }
  CHECK(g->open[0] && g->open[1] && g->open[2] && !g->open[BAD] && !g->open[LARGE]);
}

int main(void)
{
  const char *base = getenv("TMPDIR");
  char folder[SCRATCH], path[FILES][SCRATCH + 30];
  ingest_file file[FILES];
  syz_images *open[FILES] = {NULL}, *all[FILES] = {NULL};
  ingest g = {.size = 1, .n_files = FILES, .file = file, .open = open};
  g.image_options = (syz_images_options){.unit = "", .bands = "", .zero_points = ""};
  snprintf(folder, sizeof folder, "%s/syzygy-test-XXXXXX", base ? base : "/tmp");
  if (!mkdtemp(folder)) return 1;
  for (int i = 0; i < FILES; i++) { /* packed by their names, which is what counts here */
    struct stat s;
    snprintf(path[i], sizeof path[i], "%s/image-r-%d.fits.gz", folder, i);
    write_image(path[i]);
    if (i == BAD) scratch_write(path[i], (const unsigned char *)"not an image", 12);
    CHECK(stat(path[i], &s) == 0);
    file[i] = (ingest_file){.path = path[i], .role = ROLE_IMAGES, .bytes = s.st_size};
  }
  file[LARGE].bytes = INT64_C(1) << 60; /* more than any node has */
  const int64_t blocks = syz_memory_get().live_blocks;
  for (int k = 0; k < 50; k++) stage(&g);
  CHECK_EQ(g.open_bytes, 4 * (file[0].bytes + file[1].bytes + file[2].bytes));
  for (int i = 0; i < FILES; i++) (void)ingest_open_images(&g, i, &all[i]); /* all at a time, as none does */
  CHECK_EQ(g.open_bytes, 0);
  for (int i = 0; i < FILES; i++) ingest_release_images(&g, i, &all[i]);
  CHECK_EQ(g.open_bytes, 4 * (file[0].bytes + file[1].bytes + file[2].bytes));
  ingest_close_images(&g);
  CHECK_EQ(g.open_bytes, 0);
  CHECK_EQ(syz_memory_get().live_blocks, blocks);
  stage(&g); /* and once more after that */
  ingest_close_images(&g);
  scratch_empty(folder);
  rmdir(folder);
  return CHECK_RESULT();
}
