/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Which driver suits a file system. Parallel ones give each MPI library a way to write stripes in the order in which
 * their servers hold them, and suffer from many small writers: mpio. On a disk of one machine both drivers end in
 * pwrite, and direct can go past the page cache, which mpio cannot (src/data/README.md "Two ways to the disk").
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "driver.h"

typedef struct file_system {
  uint32_t type; /* f_type of statfs(2) */
  const char *name;
  bool is_parallel, is_shared; /* shared: written by several nodes, though not made for it */
} file_system;

/* Numbers: the manual page statfs(2), and the sources of the Lustre, GPFS and BeeGFS clients. */
static const file_system known[] = {
    {0x0BD00BD0, "Lustre", true, true},  {0x47504653, "GPFS", true, true},  {0x19830326, "BeeGFS", true, true},
    {0x6969, "NFS", false, true},        {0xEF53, "ext4", false, false},    {0x58465342, "XFS", false, false},
    {0x9123683E, "btrfs", false, false}, {0x2FC12FC1, "ZFS", false, false}, {0x01021994, "tmpfs", false, false}};
enum { KNOWN = sizeof known / sizeof *known };

const char *syz_h5_driver_name(syz_h5_driver d) { return d == SYZ_H5_MPIO ? "mpio" : "direct"; }

/* The file system of a folder, or of the nearest parent that is there. */
static syz_status find_type(const char *folder, uint32_t *type)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  struct statfs about;
  SYZ_REQUIRE((size_t)snprintf(path, sizeof path, "%s", *folder ? folder : ".") < sizeof path, SYZ_ERR_INPUT,
              "%.60s...: name too long", folder);
  while (statfs(path, &about) != 0) {
    char *slash = strrchr(path, '/');
    SYZ_REQUIRE(errno == ENOENT && strcmp(path, "/") != 0 && strcmp(path, ".") != 0, SYZ_ERR_WRITE,
                "%s: cannot tell its file system: %s", path, strerror(errno));
    if (!slash)
      snprintf(path, sizeof path, ".");
    else
      slash[slash == path] = '\0';
  }
  *type = (uint32_t)about.f_type;
cleanup:
  return st;
}

/* Whether the ranks are on several nodes. Collective, agreed. */
static syz_status ask_nodes(syz_comm *c, bool *are_several)
{
  syz_status st = SYZ_OK;
  syz_comm *node = NULL;
  SYZ_TRY(syz_comm_split_node(c, &node));
  int64_t least = syz_comm_size(node);
  syz_allreduce_i64(c, &least, 1, SYZ_MIN);
  *are_several = least < syz_comm_size(c);
cleanup:
  syz_comm_destroy(&node);
  return st;
}

syz_h5_driver syz_h5_driver_on(uint32_t type, bool are_several, const char **name)
{
  *name = NULL;
  for (int i = 0; i < KNOWN; i++) {
    if (known[i].type != type) continue;
    *name = known[i].name;
    return known[i].is_parallel || (known[i].is_shared && are_several) ? SYZ_H5_MPIO : SYZ_H5_DIRECT;
  }
  return SYZ_H5_DIRECT;
}

syz_status syz_h5_driver_for(syz_comm *c, const char *folder, syz_h5_driver *driver, char file_system_name[32])
{
  syz_status st = SYZ_OK;
  uint32_t type = 0;
  bool are_several = false;
  const char *name = NULL;
  *driver = SYZ_H5_DIRECT;
  SYZ_TRY_ALL(c, syz_comm_rank(c) == 0 ? find_type(folder, &type) : SYZ_OK);
  syz_bcast(c, &type, sizeof type, 0);
  SYZ_TRY(ask_nodes(c, &are_several));
  *driver = syz_h5_driver_on(type, are_several, &name);
  if (name)
    snprintf(file_system_name, 32, "%s", name);
  else
    snprintf(file_system_name, 32, "file system 0x%x", (unsigned)type);
cleanup:
  return st;
}
