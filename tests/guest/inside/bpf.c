/* BPF objects for vmon's guest tests, and what the kernel says of all that are loaded.
 *
 * hold: load a program that uses a map, and one that does not; print the pid of a child that keeps them. list: one
 * line a program and a map, by the bpf system call alone.
 */
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define POINTER(p) ((__u64)(unsigned long)(p))

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof *attr);
}

static int load(const char *name, const struct bpf_insn *code, int count)
{
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insns = POINTER(code), .insn_cnt = count,
				.license = POINTER("GPL") };

	strncpy(attr.prog_name, name, sizeof attr.prog_name - 1);
	return bpf(BPF_PROG_LOAD, &attr);
}

static int hold(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_HASH, .key_size = 4, .value_size = 24, .max_entries = 7,
				.map_flags = BPF_F_NO_PREALLOC };
	struct bpf_insn code[] = {
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD },
		{ 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int child;

	setrlimit(RLIMIT_MEMLOCK, &all);
	strcpy(attr.map_name, "vmon_map");
	code[0].imm = bpf(BPF_MAP_CREATE, &attr);
	if (code[0].imm < 0 || load("vmon_with_map", code, 4) < 0 || load("vmon_alone", code + 2, 2) < 0) {
		perror("bpf");
		return 1;
	}
	child = fork();
	if (!child) {
		close(0);
		close(1);
		close(2);
		for (;;)
			pause();
	}
	printf("%d\n", child);
	return 0;
}

static void list_programs(void)
{
	union bpf_attr attr = { 0 };

	while (!bpf(BPF_PROG_GET_NEXT_ID, &attr)) {
		struct bpf_prog_info info = { 0 };
		unsigned char tag[8];
		__u32 maps[64];
		union bpf_attr by = { .prog_id = attr.next_id };
		int fd = bpf(BPF_PROG_GET_FD_BY_ID, &by);

		info.map_ids = POINTER(maps);
		info.nr_map_ids = 64;
		by = (union bpf_attr){ .info = { .bpf_fd = fd, .info_len = sizeof info, .info = POINTER(&info) } };
		if (fd < 0 || bpf(BPF_OBJ_GET_INFO_BY_FD, &by))
			continue;
		close(fd);
		memcpy(tag, info.tag, 8);
		printf("prog %u %u [%s] ", info.id, info.type, info.name);
		for (int at = 0; at < 8; at++)
			printf("%02x", tag[at]);
		printf(" %u %llu %u %u [", info.created_by_uid, (unsigned long long)info.load_time,
		       info.xlated_prog_len / 8, info.jited_prog_len);
		for (unsigned int at = 0; at < info.nr_map_ids; at++)
			printf("%s%u", at ? "," : "", maps[at]);
		printf("]\n");
		attr = (union bpf_attr){ .start_id = info.id };
	}
}

static void list_maps(void)
{
	union bpf_attr attr = { 0 };

	while (!bpf(BPF_MAP_GET_NEXT_ID, &attr)) {
		struct bpf_map_info info = { 0 };
		union bpf_attr by = { .map_id = attr.next_id };
		int fd = bpf(BPF_MAP_GET_FD_BY_ID, &by);

		by = (union bpf_attr){ .info = { .bpf_fd = fd, .info_len = sizeof info, .info = POINTER(&info) } };
		if (fd < 0 || bpf(BPF_OBJ_GET_INFO_BY_FD, &by))
			continue;
		close(fd);
		printf("map %u %u [%s] %u %u %u %u\n", info.id, info.type, info.name, info.key_size, info.value_size,
		       info.max_entries, info.map_flags);
		attr = (union bpf_attr){ .start_id = info.id };
	}
}

int main(int count, char **words)
{
	if (count == 2 && !strcmp(words[1], "hold"))
		return hold();
	list_programs();
	list_maps();
	return 0;
}
