/* SPDX-License-Identifier: BSD-3-Clause */
/** Memory is aligned, zeroed and counted; arenas plan before they hand out; bfloat16 rounds right for every value there
 * is. */
#include "check.h"
#include "syzygy/numbers.h"

/* A list of items of seven bytes grows one by one: what it held stays, what follows is zero, copies are few. */
static void test_growing_list(void)
{
  enum { ITEMS = 5000 };
  char(*list)[7] = NULL;
  size_t room = 0;
  int wrong = 0;
  const int64_t before = syz_memory_get().allocations;
  for (int i = 0; i < ITEMS; i++) {
    CHECK(syz_grow(&list, "list", i, 1, &room) == SYZ_OK && room > (size_t)i);
    for (int k = 0; k < 7; k++) wrong += list[i][k] != 0;
    memset(list[i], i % 100, 7);
  }
  for (int i = 0; i < ITEMS; i++) wrong += list[i][0] != i % 100 || list[i][6] != i % 100;
  CHECK_EQ(wrong, 0);
  CHECK(syz_memory_get().allocations - before < 10 && room < 3 * ITEMS);
  CHECK(syz_grow(&list, "list", ITEMS, 100000, &room) == SYZ_OK && room >= ITEMS + 100000);
  CHECK_EQ(list[ITEMS - 1][0], (ITEMS - 1) % 100);
  const size_t kept = room;
  char(*same)[7] = list;
  CHECK_ERROR(syz_grow(&list, "list", 2, SIZE_MAX - 1, &room), SYZ_ERR_MEMORY, "list");
  CHECK_ERROR(syz_grow(&list, "list", 2, SIZE_MAX / 7, &room), SYZ_ERR_MEMORY, "list");
  CHECK(list == same && room == kept && list[1][0] == 1);
  syz_free(&list);
  double *number = NULL;
  room = 0;
  CHECK(syz_grow(&number, "numbers", 0, 0, &room) == SYZ_OK && !number && !room);
}

int main(void)
{
  test_growing_list();
  size_t sizes[] = {0, 1, 63, 64, 4096, 3u << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    unsigned char *p = syz_alloc("test", sizes[i], 1);
    CHECK(p && (uintptr_t)p % 64 == 0);
    for (size_t j = 0; j < sizes[i]; j += 511) CHECK(p[j] == 0);
    if (sizes[i]) memset(p, 255, sizes[i]);
    syz_free(&p);
    CHECK(p == NULL);
  }
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  CHECK_EQ(syz_memory_get().live_bytes, 0);
  CHECK(syz_memory_get().peak_bytes == 3u << 20);
  CHECK(syz_alloc("overflow", SIZE_MAX / 2, 4) == NULL);
  CHECK(strstr(syz_error_text(), "overflow"));
  CHECK(syz_alloc("too much", SIZE_MAX / 16, 1) == NULL);
  CHECK_GT((double)syz_memory_available(), 1e6);

  syz_arena plan = {0};
  CHECK(syz_arena_take(&plan, 3, 5) == NULL && syz_arena_take(&plan, 1, 100) == NULL);
  CHECK_EQ(plan.used, 164);
  syz_arena arena = {.size = plan.used};
  arena.base = syz_alloc("arena", arena.size, 1);
  unsigned char *a = syz_arena_take(&arena, 3, 5), *b = syz_arena_take(&arena, 1, 100);
  CHECK(a == arena.base && b == a + 64);
  syz_free(&arena.base);

  int wrong = 0;
  for (uint32_t i = 0; i < 65536; i++) {
    syz_bf16 x = {(uint16_t)i}, back = syz_bf16_from_f32(syz_bf16_to_f32(x));
    bool is_nan = (i & 0x7fff) > 0x7f80;
    wrong += is_nan ? (back.bits & 0x7fff) <= 0x7f80 : back.bits != i;
    if ((i & 0x7fff) < 0x7f7f) { /* halfway to the next one goes to the even one, a little more or less to its side */
      union {
        uint32_t u;
        float f;
      } half = {i << 16 | 0x8000}, below = {i << 16 | 0x7fff}, above = {i << 16 | 0x8001};
      wrong += syz_bf16_from_f32(half.f).bits != ((i & 1) ? i + 1 : i);
      wrong += syz_bf16_from_f32(below.f).bits != i;
      wrong += syz_bf16_from_f32(above.f).bits != i + 1;
    }
  }
  CHECK_EQ(wrong, 0);
  return CHECK_RESULT();
}
