/* SPDX-License-Identifier: BSD-3-Clause */
/** Small files are written whole or not at all; folders appear with their parents; errors name path and reason. */
#include <stdlib.h>

#include "check.h"
#include "syzygy/files.h"

int main(void)
{
  char folder[] = "/tmp/syzygy-test-XXXXXX", path[256], *text = NULL;
  size_t n = 0;
  CHECK(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/a/b/c", folder);
  CHECK_OK(syz_make_folder(path));
  CHECK_OK(syz_make_folder(path));
  snprintf(path, sizeof path, "%s/a/b/c/file.txt", folder);
  CHECK_OK(syz_file_write(path, "one", 3));
  CHECK_OK(syz_file_write(path, "two!", 4));
  CHECK_OK(syz_file_read(path, 100, &text, &n));
  CHECK(n == 4 && strcmp(text, "two!") == 0);
  syz_free(&text);
  CHECK_ERROR(syz_file_read(path, 3, &text, &n), SYZ_ERR_DATA, "file.txt: the file has 4 bytes, at most 3");
  CHECK_ERROR(syz_make_folder(path), SYZ_ERR_WRITE, "file.txt");
  CHECK_ERROR(syz_file_read(folder, 100, &text, &n), SYZ_ERR_DATA, "not a file");
  snprintf(path, sizeof path, "%s/missing/x", folder);
  CHECK_ERROR(syz_file_read(path, 100, &text, &n), SYZ_ERR_DATA, "No such file");
  CHECK_ERROR(syz_file_write(path, "a", 1), SYZ_ERR_WRITE, path);
  char command[300];
  snprintf(command, sizeof command, "rm -r %s", folder);
  CHECK(system(command) == 0);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
