/* SPDX-License-Identifier: BSD-3-Clause */
/** Folders and files visited during a walk: a hash table of device and inode number. */
#include "syzygy/files.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct syz_met_entry {
  uint64_t device, number;
  bool is_used;
};

/* Its place in the table, or the free place for it. The table is never full. */
static size_t place(const syz_met *m, uint64_t device, uint64_t number)
{
  const uint64_t key[2] = {device, number};
  size_t at = (size_t)syz_checksum(key, sizeof key, 0) & (m->room - 1);
  while (m->entry[at].is_used && (m->entry[at].device != device || m->entry[at].number != number))
    at = (at + 1) & (m->room - 1);
  return at;
}

static syz_status grow(syz_met *m)
{
  syz_status st = SYZ_OK;
  syz_met bigger = {NULL, m->n, m->room ? 2 * m->room : 64};
  SYZ_ALLOC(bigger.entry, "folders met", bigger.room);
  for (size_t i = 0; i < m->room; i++)
    if (m->entry[i].is_used) bigger.entry[place(&bigger, m->entry[i].device, m->entry[i].number)] = m->entry[i];
  syz_met_free(m);
  *m = bigger;
cleanup:
  return st;
}

syz_status syz_met_add(syz_met *m, const char *path, bool *is_new)
{
  syz_status st = SYZ_OK;
  struct stat info;
  *is_new = false;
  SYZ_REQUIRE(stat(path, &info) == 0, SYZ_ERR_DATA, "%s: %s", path, strerror(errno));
  if (2 * (m->n + 1) > m->room) SYZ_TRY(grow(m));
  size_t at = place(m, (uint64_t)info.st_dev, (uint64_t)info.st_ino);
  *is_new = !m->entry[at].is_used;
  if (*is_new) {
    m->entry[at] = (struct syz_met_entry){(uint64_t)info.st_dev, (uint64_t)info.st_ino, true};
    m->n++;
  }
cleanup:
  return st;
}

void syz_met_free(syz_met *m)
{
  syz_free(&m->entry);
  *m = (syz_met){NULL, 0, 0};
}
