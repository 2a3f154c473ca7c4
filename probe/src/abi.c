/* Makes the compiler describe the ABI in the debug information (BTF), which the host reads. Not part of the probe. */
#include "vmon_abi.h"

struct vmon_config config;
struct vmon_state state;
struct vmon_table table;
struct vmon_ledger ledger;
struct vmon_record record;
enum vmon_sizes sizes;
enum vmon_kind kind;
enum vmon_shape shape;
enum vmon_kfunc kfunc;
enum vmon_op op;
enum vmon_action action;
enum vmon_match match;
enum vmon_key key;
enum vmon_answer answer;
enum vmon_record_flags record_flags;
