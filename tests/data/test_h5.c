#include "check.h"
#include "fixture.h"
int main(int argc, char **argv) {
  syz_comm *world; CHECK_OK(syz_comm_start(&argc, &argv, &world));
  if (syz_comm_rank(world)==0) CHECK_OK(syz_fixture_shards("/tmp/fx", 7, 40, 16));
  double t=syz_clock_s();
  if (syz_comm_rank(world)==0) CHECK_OK(syz_fixture_shards("/tmp/fx", 7, 40, 16));
  fprintf(stderr,"%g s\n", syz_clock_s()-t);
  int r = CHECK_RESULT(); syz_comm_finish(&world); return r; }
