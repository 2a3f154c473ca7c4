/* The only agreement between the probe in the guest and vmon on the host. vmon.probe.abi reads these structures from the
 * object's own BTF, and tests/unit/probe/test_abi.py compares.
 *
 * One window of 2 MiB in the guest's kernel half, at VMON_WINDOW:
 *	0x000000  code, readable and executable: entries for redirected calls, jumps to the kernel, entries for functions
 *	0x010000  struct vmon_config, read-only here; the host writes it through guest RAM
 *	0x012000  struct vmon_state, read and written here; never executable
 *	0x020000  two struct vmon_table of rules, read-only here
 *	0x0a0000  struct vmon_ledger, read and written here; only there when there are rules
 *	0x100000  the ring: slots of VMON_SLOT bytes
 */
#ifndef VMON_ABI_H
#define VMON_ABI_H

#define VMON_HOOKS 64	   /* entries in the code that call sites are redirected to */
#define VMON_HOOK_SIZE 48  /* bytes of each */
#define VMON_HOOK_JUMP 31  /* where in it the jump to the called function is */
#define VMON_ENTRIES_AT 0xd00 /* in the code: entries that a function calls at its start, numbered as the hooks */
#define VMON_ENTRY_SIZE 40
#define VMON_ENTRY_NOP 31  /* where in it the instruction is that stood at the function's start */
#define VMON_KFUNCS 24	   /* functions of the kernel that the code calls */
#define VMON_KFUNC_SIZE 8
#define VMON_GATES 72	   /* where in struct vmon_config the gates are */
#define VMON_WINDOW 0xffffffff80000000
#define VMON_CONFIG_AT 0x10000

#ifndef __ASSEMBLER__

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef int s32;
typedef long s64;

#define VMON_MAGIC 0x65626f72706e6d76ul /* "vmnprobe" */
#define VMON_ABI_VERSION 3

#define VMON_STATE_AT 0x12000
#define VMON_RULES_AT 0x20000
#define VMON_TABLE_SIZE 0x40000
#define VMON_LEDGER_AT 0xa0000
#define VMON_RING_AT 0x100000

#define VMON_SLOT 256
#define VMON_STRIPES 64
#define VMON_MAX_PATHS 2
#define VMON_MAX_RULES 1024
#define VMON_RULE_STRINGS 65536
#define VMON_BUCKETS 1024
#define VMON_REST 16384
#define VMON_ASKS 64
#define VMON_TAGS 4096	   /* processes that can carry tags at once */
#define VMON_TAG_WAYS 16   /* places that one process may take */
#define VMON_TAG_BATCH 128 /* processes that one request tags */
#define VMON_MIX 0x9e3779b97f4a7c15ul

/* The numbers above once more, for those who read the debug information. */
enum vmon_sizes {
	VMON_SIZE_SLOT = VMON_SLOT,
	VMON_SIZE_HOOKS = VMON_HOOKS,
	VMON_SIZE_HOOK = VMON_HOOK_SIZE,
	VMON_SIZE_HOOK_JUMP = VMON_HOOK_JUMP,
	VMON_SIZE_ENTRIES_AT = VMON_ENTRIES_AT,
	VMON_SIZE_ENTRY = VMON_ENTRY_SIZE,
	VMON_SIZE_ENTRY_NOP = VMON_ENTRY_NOP,
	VMON_SIZE_KFUNCS = VMON_KFUNCS,
	VMON_SIZE_KFUNC = VMON_KFUNC_SIZE,
	VMON_SIZE_VERSION = VMON_ABI_VERSION,
	VMON_SIZE_CONFIG_AT = VMON_CONFIG_AT,
	VMON_SIZE_STATE_AT = VMON_STATE_AT,
	VMON_SIZE_RULES_AT = VMON_RULES_AT,
	VMON_SIZE_TABLE = VMON_TABLE_SIZE,
	VMON_SIZE_LEDGER_AT = VMON_LEDGER_AT,
	VMON_SIZE_RING_AT = VMON_RING_AT,
};

/* Kinds of events; the names on the host are those of vmon.probe.hooks. */
enum vmon_kind {
	VMON_NONE,
	VMON_PROCESS_FORK,
	VMON_PROCESS_EXEC,
	VMON_PROCESS_EXIT,
	VMON_PROCESS_SETUID,
	VMON_PROCESS_SIGNAL,
	VMON_PROCESS_PTRACE,
	VMON_FILE_OPEN,
	VMON_FILE_CREATE,
	VMON_FILE_SYMLINK,
	VMON_FILE_UNLINK,
	VMON_FILE_RENAME,
	VMON_FILE_LINK,
	VMON_FILE_MKDIR,
	VMON_FILE_RMDIR,
	VMON_FILE_CHMOD,
	VMON_FILE_CHOWN,
	VMON_FILE_TRUNCATE,
	VMON_FILE_MMAP_EXEC,
	VMON_FILE_MOUNT,
	VMON_NET_CONNECT,
	VMON_NET_BIND,
	VMON_NET_LISTEN,
	VMON_NET_ACCEPT,
	VMON_MODULE_LOAD,
	VMON_BPF_LOAD,
	VMON_KINDS,
};

/* What a hooked function is handed: where its arguments lead. */
enum vmon_shape {
	VMON_SHAPE_TICK,	  /* none: a safe moment to do what the mailbox asks for */
	VMON_SHAPE_TASK,	  /* struct task_struct *child */
	VMON_SHAPE_BPRM,	  /* struct linux_binprm * */
	VMON_SHAPE_EXECED,	  /* struct task_struct *, after a successful exec */
	VMON_SHAPE_EXIT,	  /* struct task_struct *, int group_dead */
	VMON_SHAPE_SETUID,	  /* struct cred *new, const struct cred *old, int flags */
	VMON_SHAPE_SIGNAL,	  /* struct task_struct *, struct kernel_siginfo *, int sig */
	VMON_SHAPE_PTRACE,	  /* struct task_struct *, unsigned int mode */
	VMON_SHAPE_FILE,	  /* struct file * */
	VMON_SHAPE_FILE_PROT,	  /* struct file *, unsigned long prot, unsigned long flags */
	VMON_SHAPE_DIR_ENTRY,	  /* const struct path *dir, struct dentry *, mode */
	VMON_SHAPE_NAME,	  /* const struct path *dir, struct dentry * */
	VMON_SHAPE_INODE_NAME,	  /* struct inode *dir, struct dentry * */
	VMON_SHAPE_INODE_ENTRY,	  /* struct inode *dir, struct dentry *, mode: the path within its file system */
	VMON_SHAPE_INODE_RENAME,  /* inode *old_dir, dentry *old, inode *new_dir, dentry *new, flags */
	VMON_SHAPE_INODE_LINK,	  /* dentry *old, inode *new_dir, dentry *new */
	VMON_SHAPE_RENAME,	  /* path *old_dir, dentry *old, path *new_dir, dentry *new, flags */
	VMON_SHAPE_LINK,	  /* dentry *old, path *new_dir, dentry *new */
	VMON_SHAPE_PATH,	  /* const struct path *, long, long */
	VMON_SHAPE_MOUNT,	  /* const char *device, const struct path *, const char *type, flags */
	VMON_SHAPE_SOCKADDR,	  /* struct socket *, struct sockaddr *, int */
	VMON_SHAPE_SOCKET,	  /* struct socket *, long */
	VMON_SHAPE_READ_FILE,	  /* struct file *, enum kernel_read_file_id */
	VMON_SHAPE_LOAD_DATA,	  /* enum kernel_load_data_id */
	VMON_SHAPE_BPF,		  /* int cmd */
};

/* Functions of the kernel that the code calls; the host fills in the jumps. */
enum vmon_kfunc {
	VMON_K_CLOCK,	    /* u64 ktime_get_boot_fast_ns(void) */
	VMON_K_FIND_PID,    /* struct pid *find_pid_ns(int, struct pid_namespace *) */
	VMON_K_PID_TASK,    /* struct task_struct *pid_task(struct pid *, enum pid_type) */
	VMON_K_KILL_PID,    /* int kill_pid(struct pid *, int, int) */
	VMON_K_SEND_SIG,    /* int send_sig(int, struct task_struct *, int) */
	VMON_K_GET_PAGES,   /* unsigned long __get_free_pages(gfp_t, unsigned int) */
	VMON_K_COPY_USER,   /* long copy_from_user_nofault(void *, const void *, size_t) */
	VMON_K_SLEEP,	    /* void usleep_range_state(unsigned long, unsigned long, unsigned int) */
};

/* Where fields lie; NONE where this kernel has no such field. */
#define VMON_NO_FIELD 0xffffffffu

struct vmon_offsets {
	u32 task_pid, task_tgid, task_parent, task_leader, task_start, task_comm, task_cred, task_mm, task_cpu,
		task_exit_code, task_cgroups;
	u32 cred_uid, cred_euid, cred_gid;
	u32 mm_arg_start, mm_arg_end, mm_exe_file;
	u32 file_mnt, file_dentry, file_flags, file_mode;
	u32 path_mnt, path_dentry;
	u32 dentry_parent, dentry_name, dentry_name_len;
	u32 vfsmount_root;
	u32 mount_mnt, mount_parent, mount_mountpoint;
	u32 bprm_file;
	u32 socket_sk, socket_type;
	u32 sk_family, sk_protocol, sk_num, sk_rcv_saddr, sk_v6_rcv_saddr;
	u32 css_set_cgroup, cgroup_kn, kn_id, kn_parent;
};

struct vmon_hook {
	u16 kind;
	u16 shape;
	u32 only; /* for shapes that carry a number: events with another one are none of ours */
};

struct vmon_config {
	u64 magic;
	u32 version;
	u32 size;
	u64 build; /* names this blob */
	u64 table_gpa;	/* where the page of page-table entries lies that leads to all of this */
	u64 boot;	/* names the boot that it was put into; 0: that can't be told */
	/* Up to here every version has the same. */
	u64 current_task;  /* what to add to GS's base */
	u64 preempt_count; /* likewise */
	u64 init_pid_ns;
	u32 pid_type_tgid;
	u32 gfp;
	u8 gates[VMON_HOOKS]; /* of each entry, 0: what comes passes unseen */
	u32 ring_slots; /* 0 while there is no ring; a power of two */
	u32 enabled;	/* 0: no gate but those of ticks is open, nobody waits for an answer */
	u64 log_kinds;	/* bit a kind: recorded also where no rule speaks of it */
	u64 ask_kinds;	/* bit a kind: its callers may sleep, so the host can be asked */
	u64 beat;	/* the host counts up while it answers; 0: nobody does */
	u64 beat_ns;	/* who has not counted for so long is dead */
	u64 spin_ns;	/* an answer is waited for so long without sleeping */
	u32 table_at;	/* where in the window the rules in force are, 0: there are none */
	u32 enforce;	/* 0: a rule that would deny is recorded and does not */
	u32 tags;	/* 1: children inherit the tags of their parents */
	u32 at_entry;	/* 1: functions are hooked at their own start where they can be */
	u32 unused;
	u64 reader;	/* who takes from the ring: start time and pid of a vmon on its host; 0: nobody does */
	struct vmon_offsets at;
	struct vmon_hook hooks[VMON_HOOKS];
};

enum vmon_op {
	VMON_OP_NOTHING,
	VMON_OP_SIGNAL,	   /* pid, start_ns, signal */
	VMON_OP_GET_PAGES, /* order -> address in the direct map */
	VMON_OP_TAG,	   /* order: how many of the ledger's batch -> how many found no place */
	VMON_OP_FORGET,	   /* tags: nobody carries them any more */
};

struct vmon_mailbox {
	u64 request; /* the host counts up when all of the rest is written */
	u64 done;    /* the probe copies `request` when the result is there */
	u32 op;
	u32 pid;
	u64 start_ns;
	u32 signal;
	u32 order;
	s64 result;
	u64 value;
	u32 busy;
	u32 tags;
};

/* A call that waits for the host's word. */
struct vmon_ask {
	u32 taken;
	u32 unused;
	/* The host writes both halves at once: what is not for this very record is no answer. */
	u32 answer; /* enum vmon_answer */
	u32 record; /* the low half of the record's seq */
};

enum vmon_answer {
	VMON_ANSWER_ALLOW,
	VMON_ANSWER_DENY,
	VMON_ANSWER_KILL,
};

struct vmon_state {
	u64 head; /* slots reserved so far */
	u64 tail; /* slots that the host has taken */
	u64 ticks;
	struct vmon_mailbox mailbox;
	u64 seen[32];
	u64 lost[32];
	u64 denied[32];
	u64 asked[32];
	u64 unanswered[32];
	u64 untagged; /* children that found no place for their parent's tags */
	u64 waiting;  /* calls that wait for an answer now */
	u64 dead_beat; /* the last beat of a host that was found dead */
	struct vmon_ask asks[VMON_ASKS];
	u32 in_flight[VMON_STRIPES * 16]; /* a cache line a stripe */
};

/* A process that carries tags, which its children inherit: how rules know a tree. */
struct vmon_tag {
	u32 pid; /* 0: free */
	u32 tags;
	u64 start_ns;
};

struct vmon_ledger {
	u64 hits[2][VMON_MAX_RULES]; /* of either table */
	struct vmon_tag tags[VMON_TAGS];
	struct vmon_tag batch[VMON_TAG_BATCH]; /* written by the host */
};

enum vmon_action {
	VMON_ALLOW,
	VMON_LOG,
	VMON_DENY,
	VMON_KILL,
	VMON_ASK,
};

/* Conditions of a rule, the cheap ones first. */
enum vmon_match {
	VMON_MATCH_FLAGS = 1,	  /* any of these bits of the first number */
	VMON_MATCH_PORT = 2,
	VMON_MATCH_UID = 4,
	VMON_MATCH_TGID = 8,
	VMON_MATCH_COMM = 16,
	VMON_MATCH_ADDRESS = 32,
	VMON_MATCH_CGROUP = 64,	  /* this one, or one below it */
	VMON_MATCH_TAG = 128,
	VMON_MATCH_EXE = 256,
	VMON_MATCH_PATH = 512,	  /* the whole path; the rest too is about one and the same path of an event */
	VMON_MATCH_PREFIX = 1024,
	VMON_MATCH_SUFFIX = 2048,
	VMON_MATCH_FLAT = 4096,	  /* no slash between prefix and suffix */
};

/* By what a rule is found; a rule has one such key, or is among the rest. */
enum vmon_key {
	VMON_KEY_NAME,	  /* last name of the path */
	VMON_KEY_FOLDER,  /* first names of the path, all of those that a prefix has in full */
	VMON_KEY_EXE,	  /* last name of the program */
	VMON_KEY_COMM,
	VMON_KEY_ADDRESS,
	VMON_KEY_PORT,
	VMON_KEY_UID,
	VMON_KEY_TGID,
	VMON_KEY_CLASSES,
};

struct vmon_rule {
	u64 kinds;
	u32 match;  /* these conditions hold */
	u32 unless; /* and these do not */
	u16 action;
	u16 id;
	s32 error; /* negative errno */
	u32 uid;
	u32 tgid;
	u64 start_ns;
	u64 cgroup;
	u64 flags;
	u32 tags;
	u32 timeout_ms;
	char comm[16];
	u8 address[16];
	u16 port;
	u8 address_bits;
	u8 address_family;
	u16 path_len;
	u16 suffix_len;
	u32 path_at; /* into strings */
	u32 suffix_at;
	u32 exe_at;
	u16 exe_len;
	u16 slashes; /* of prefix and suffix */
	u16 observe; /* 1: recorded, not carried out */
	u16 open;    /* 1: a call that gets no answer may go on */
};

struct vmon_entry {
	u32 hash;
	u16 rule;
	u16 next; /* index of the next of this bucket plus one */
};

struct vmon_table {
	u32 count;
	u32 strings_size;
	u64 kinds; /* of all rules: an event of another kind needs no look */
	u16 classes[32];    /* of each kind: bit a class of keys */
	u16 rest_at[32];    /* of each kind: the rules that no key finds, in order */
	u16 rest_count[32];
	u16 buckets[VMON_BUCKETS]; /* index of the first entry plus one */
	u16 rest[VMON_REST];
	struct vmon_entry entries[VMON_MAX_RULES];
	struct vmon_rule rules[VMON_MAX_RULES];
	char strings[VMON_RULE_STRINGS + 8];
};

enum vmon_record_flags {
	VMON_CUT = 1,	   /* a path or a command line did not fit */
	VMON_PADDING = 2,  /* no event: the ring goes on at its start */
	VMON_WOULD = 4,	   /* observe mode: the verdict was not carried out */
	VMON_KILLED = 8,   /* the rule ends the process */
	VMON_ASKED = 16,   /* the rule asks the host */
};

struct vmon_record {
	u64 seq; /* index of its first slot plus one, written last */
	u16 kind;
	u16 slots;
	u16 flags;
	u16 rule; /* id, 0 for none */
	u64 time_ns;
	u64 start_ns;
	u32 tid;
	u32 pid;
	u32 ppid;
	u32 uid;
	u32 euid;
	u32 cpu;
	s32 verdict;
	u32 gid;
	char comm[16];
	u64 cgroup;
	u64 number[3]; /* by kind: flags and mode, signal and target, address and port */
	u16 text_len[VMON_MAX_PATHS];
	u8 address[16];
	u16 family;
	u16 port;
	u16 ask; /* index of the ask plus one */
	u16 unused;
	/* text follows: paths, arguments (NUL-separated) */
};

#endif /* __ASSEMBLER__ */
#endif /* VMON_ABI_H */
