/* Runs inside the guest: one process of every kind that a process list can get wrong. Each waits for ever.
 *
 * `workload` starts them all and prints "ready"; `workload many N` starts N plain children; `workload storm SECONDS`
 * forks and exits as fast as it can, or until there is a file /tmp/storm-end; `workload kexec KERNEL INITRD ARGUMENTS`
 * starts another kernel. Nothing here attacks anything: it only exists, in odd ways.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static int started[2];

static void name(const char *text) { prctl(PR_SET_NAME, text); }

/* Tells the parent that this one is as it shall be, and stays. */
static void stay(void)
{
	char done = 1;
	if (write(started[1], &done, 1) != 1)
		_exit(9);
	close(started[0]);
	close(started[1]);
	for (;;)
		pause();
}

static void *thread_body(void *text)
{
	prctl(PR_SET_NAME, (const char *)text);
	for (;;)
		pause();
	return NULL;
}

static void threads(void)
{
	pthread_t id;
	name("w-threads");
	pthread_create(&id, NULL, thread_body, "worker one");
	pthread_create(&id, NULL, thread_body, "worker two");
	pthread_create(&id, NULL, thread_body, "worker \xff");
	usleep(100000);
	stay();
}

static void zombie(void)
{
	pid_t child = fork();
	if (!child) {
		name("w-zombie-child");
		_exit(3);
	}
	name("w-zombie");
	siginfo_t info;
	waitid(P_PID, child, &info, WEXITED | WNOWAIT);
	stay();
}

static void stopped(void)
{
	pid_t child = fork();
	if (!child) {
		name("w-stopped");
		close(started[0]);
		close(started[1]);
		raise(SIGSTOP);
		for (;;)
			pause();
	}
	name("w-stopper");
	siginfo_t info;
	waitid(P_PID, child, &info, WSTOPPED | WNOWAIT);
	stay();
}

static void traced(void)
{
	pid_t child = fork();
	if (!child) {
		name("w-traced");
		close(started[0]);
		close(started[1]);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGUSR1);
		for (;;)
			pause();
	}
	name("w-tracer");
	waitpid(child, NULL, 0);
	stay();
}

/* The parent of a vfork sleeps uninterruptibly (D) until the child execs or ends. */
static void blocked(void)
{
	name("w-blocked");
	if (!vfork()) {
		char done = 1;
		if (write(started[1], &done, 1) != 1)
			_exit(9);
		for (;;)
			pause();
	}
	_exit(0);
}

static void files(void)
{
	char data[5000] = {0};
	int fd;
	name("w-files");
	mkdir("/tmp/w", 0755);
	mkdir("/tmp/w/a-directory-whose-name-does-not-fit-into-a-dentry-by-far", 0755);
	fd = open("/tmp/w/a-directory-whose-name-does-not-fit-into-a-dentry-by-far/f", O_RDWR | O_CREAT, 0600);
	if (write(fd, data, 4321) != 4321)
		_exit(9);
	fd = open("/tmp/w/append", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (write(fd, data, 100) != 100)
		_exit(9);
	open("/tmp/w/deleted", O_RDWR | O_CREAT, 0600);
	unlink("/tmp/w/deleted");
	open("/tmp/w/odd \xff\n name", O_WRONLY | O_CREAT, 0600);
	open("/tmp/w/exactly-thirty-one-letters-long", O_WRONLY | O_CREAT, 0600);
	open("/tmp/w", O_RDONLY | O_DIRECTORY);
	open("/dev/null", O_RDWR);
	open("/proc/self/status", O_RDONLY);
	open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY);
	open("/proc/self/ns/net", O_RDONLY);
	open("/proc/self/ns/mnt", O_RDONLY);
	open("/tmp/w/append", O_PATH);
	mkdir("/tmp/w/mnt", 0755);
	mount("w-tmpfs", "/tmp/w/mnt", "tmpfs", 0, NULL);
	mkdir("/tmp/w/mnt/sub", 0755);
	open("/tmp/w/mnt/sub/across", O_RDWR | O_CREAT, 0600);
	mkdir("/tmp/w/bind", 0755);
	mount("/tmp/w/mnt/sub", "/tmp/w/bind", NULL, MS_BIND, NULL);
	open("/tmp/w/bind/across", O_RDONLY);
	chdir("/tmp/w/bind");
	fd = memfd_create("secret \xfe plan", MFD_CLOEXEC);
	ftruncate(fd, 12345);
	eventfd(0, 0);
	epoll_create1(0);
	timerfd_create(CLOCK_MONOTONIC, 0);
	inotify_init();
	sigset_t set;
	sigemptyset(&set);
	signalfd(-1, &set, 0);
	syscall(SYS_pidfd_open, getpid(), 0);
	int ends[2];
	if (pipe2(ends, O_NONBLOCK))
		_exit(9);
	mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, open("/bin/busybox", O_RDONLY), 4096);
	mmap(NULL, 12345, PROT_READ, MAP_SHARED, fd, 0);
	stay();
}

static void many_files(void)
{
	name("w-many-files");
	for (int i = 0; i < 700; i++)
		if (open("/dev/zero", O_RDONLY | (i % 3 ? 0 : O_CLOEXEC)) < 0)
			break;
	for (int i = 100; i < 200; i += 7)
		close(i);
	dup2(0, 1000);
	stay();
}

static int listening(int family, int port, int queue)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1, fd = socket(family, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, family == AF_INET ? (void *)&four : (void *)&six, family == AF_INET ? sizeof(four) : sizeof(six)))
		perror("bind");
	listen(fd, queue);
	return fd;
}

static void unix_name(struct sockaddr_un *address, const char *text, size_t length)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, text, length);
}

static void sockets(void)
{
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(4711), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(4712), .sin6_addr = in6addr_loopback};
	struct sockaddr_in other = {.sin_family = AF_INET, .sin_port = htons(5353), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un address;
	int server, client, ends[2];
	name("w-sockets");
	server = listening(AF_INET, 4711, 3);
	client = socket(AF_INET, SOCK_STREAM, 0);
	connect(client, (void *)&four, sizeof(four));
	accept(server, NULL, NULL);
	server = listening(AF_INET6, 4712, 3);
	client = socket(AF_INET6, SOCK_STREAM, 0);
	connect(client, (void *)&six, sizeof(six));
	accept(server, NULL, NULL);
	client = socket(AF_INET, SOCK_DGRAM, 0);
	bind(client, (void *)&other, sizeof(other));
	client = socket(AF_INET, SOCK_DGRAM, 0);
	connect(client, (void *)&other, sizeof(other));
	socket(AF_INET6, SOCK_DGRAM, 0);
	server = socket(AF_UNIX, SOCK_STREAM, 0);
	unlink("/tmp/w.sock");
	unix_name(&address, "/tmp/w.sock", 11);
	bind(server, (void *)&address, 2 + 11);
	listen(server, 5);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	connect(client, (void *)&address, 2 + 11);
	accept(server, NULL, NULL);
	server = socket(AF_UNIX, SOCK_DGRAM, 0);
	unix_name(&address, "\0hidden name", 12);
	bind(server, (void *)&address, 2 + 12);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends))
		_exit(9);
	socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	stay();
}

static void shut_in(void)
{
	name("w-chroot");
	mkdir("/tmp/jail", 0755);
	mkdir("/tmp/jail/sub", 0755);
	if (chroot("/tmp/jail") || chdir("/sub"))
		_exit(9);
	open("/inside", O_RDWR | O_CREAT, 0600);
	stay();
}

static void contained(void)
{
	if (unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP))
		_exit(9);
	pid_t child = fork();
	if (!child) {
		name("w-contained");
		sethostname("inner", 5);
		mount("none", "/tmp", "tmpfs", 0, NULL);
		open("/tmp/only here", O_RDWR | O_CREAT, 0600);
		stay();
	}
	name("w-container");
	close(started[0]);
	close(started[1]);
	for (;;)
		pause();
}

static void in_user_namespace(void)
{
	name("w-userns");
	if (unshare(CLONE_NEWUSER))
		name("w-userns-refused");
	stay();
}

static void in_cgroup(void)
{
	char pid[16];
	int fd, length = snprintf(pid, sizeof(pid), "%d", getpid());
	const char *folder = "/sys/fs/cgroup/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";
	name("w-cgroup");
	mkdir(folder, 0755);
	char path[200];
	snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
	fd = open(path, O_WRONLY);
	if (write(fd, pid, length) != length)
		name("w-cgroup-refused");
	close(fd);
	stay();
}

static void other_user(void)
{
	gid_t groups[] = {10, 20, 4000000000u};
	name("w-user");
	setgroups(3, groups);
	if (setresgid(100, 101, 102) || setresuid(1000, 1001, 1002))
		_exit(9);
	stay();
}

static void restricted(void)
{
	struct sock_filter allow[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
	struct sock_fprog program = {1, allow};
	name("w-restricted");
	for (int capability = 0; capability < 64; capability += 2)
		prctl(PR_CAPBSET_DROP, capability);
	setpriority(PRIO_PROCESS, 0, 7);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
	stay();
}

static void on_terminal(void)
{
	name("w-terminal");
	int unlock = 0, number, control = open("/dev/ptmx", O_RDWR);
	char path[32];
	ioctl(control, TIOCSPTLCK, &unlock);
	ioctl(control, TIOCGPTN, &number);
	snprintf(path, sizeof(path), "/dev/pts/%d", number);
	int terminal = open(path, O_RDWR);
	ioctl(terminal, TIOCSCTTY, 0);
	stay();
}

static void odd_name(void)
{
	name("a b\n\xff\x1b[31m)");
	stay();
}

static void busy(void)
{
	struct timespec used;
	pthread_t id;
	name("w-was-busy");
	do
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	while (used.tv_sec < 1 && used.tv_nsec < 400000000);
	pthread_create(&id, NULL, thread_body, "idle");
	usleep(50000);
	stay();
}

static void large(void)
{
	size_t size = 24 << 20;
	name("w-large");
	char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(data, 1, size);
	stay();
}

/* The kinds below exec this program again, under other names and arguments. */

static void with_long_arguments(void)
{
	static char text[120000];
	char *arguments[20] = {"w-long"};
	memset(text, 'x', sizeof(text) - 1);
	for (int i = 1; i < 9; i++)
		arguments[i] = text + i;
	arguments[9] = "";
	arguments[10] = "odd \xff\xfe\n\x1b]0;title\x07 end";
	char *variables[] = {"STAY=1", "EMPTY=", "ODD=\xff=\n=", "NOEQUALS", "PATH=/bin", NULL};
	execve("/proc/self/exe", arguments, variables);
	_exit(9);
}

static void copy(const char *to)
{
	char data[65536];
	ssize_t got;
	int in = open("/proc/self/exe", O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	while ((got = read(in, data, sizeof(data))) > 0)
		if (write(out, data, got) != got)
			_exit(9);
	close(in);
	close(out);
}

static void with_deleted_exe(void)
{
	char *variables[] = {"STAY=unlink", NULL};
	copy("/tmp/w gone");
	execve("/tmp/w gone", (char *[]){"w-gone", NULL}, variables);
	_exit(9);
}

static void with_memfd_exe(void)
{
	char data[65536];
	ssize_t got;
	char *variables[] = {"STAY=1", NULL};
	int in = open("/proc/self/exe", O_RDONLY), out = memfd_create("w-memfd", MFD_CLOEXEC);
	while ((got = read(in, data, sizeof(data))) > 0)
		if (write(out, data, got) != got)
			_exit(9);
	syscall(SYS_execveat, out, "", (char *[]){"w-memfd-exe", NULL}, variables, AT_EMPTY_PATH);
	_exit(9);
}

static void with_title(void)
{
	char *variables[] = {"STAY=title", "SPACE=0123456789012345678901234567890123456789", NULL};
	execve("/proc/self/exe", (char *[]){"w-title", "one", "two", NULL}, variables);
	_exit(9);
}

static void stay_as_asked(char **argv, const char *how)
{
	started[0] = 198;
	started[1] = 199;
	if (!strcmp(how, "unlink"))
		unlink("/tmp/w gone");
	if (!strcmp(how, "title")) {
		/* As setproctitle does: one text over arguments and environment. */
		char *end = argv[0];
		for (char **at = argv; *at; at++)
			end = *at + strlen(*at) + 1;
		char *last = end;
		for (char **at = environ; *at; at++)
			last = *at + strlen(*at) + 1;
		(void)last;
		memset(argv[0], 'T', end - argv[0] + 10);
		argv[0][end - argv[0] + 9] = 0;
	}
	stay();
}

static void start(void (*kind)(void), int replies)
{
	char done;
	pid_t child = fork();
	if (!child) {
		/* A session of its own: a stopped member of an orphaned group would be woken and hung up on. */
		setsid();
		kind();
		_exit(8);
	}
	for (int i = 0; i < replies; i++)
		if (read(started[0], &done, 1) != 1)
			_exit(7);
}

static void storm(int seconds)
{
	time_t until = time(NULL) + seconds;
	long forks = 0;
	while (time(NULL) < until && access("/tmp/storm-end", F_OK)) {
		pid_t child = fork();
		if (!child) {
			if (forks % 3 == 0)
				execl("/bin/busybox", "true", NULL);
			_exit(0);
		}
		forks++;
		if (forks % 20 == 0)
			while (waitpid(-1, NULL, 0) > 0)
				;
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
	printf("%ld\n", forks);
}

/* Starts another kernel in this machine, as a crash kernel or a fast reboot does: no reset that QEMU could report. */
static void start_kernel(const char *kernel, const char *initrd, const char *arguments)
{
	int image = open(kernel, O_RDONLY), root = open(initrd, O_RDONLY);
	if (syscall(SYS_kexec_file_load, image, root, strlen(arguments) + 1, arguments, 0UL))
		perror("kexec_file_load");
	sync();
	syscall(SYS_reboot, 0xfee1dead, 672274793, 0x45584543, 0);
	perror("reboot");
}

int main(int argc, char **argv)
{
	static void (*const kinds[])(void) = {
		threads, zombie, stopped, traced, files, many_files, sockets, shut_in, contained, in_user_namespace,
		in_cgroup, other_user, restricted, on_terminal, odd_name, busy, large, with_long_arguments,
		with_deleted_exe, with_memfd_exe, with_title, blocked,
	};
	const char *how = getenv("STAY");
	if (how)
		stay_as_asked(argv, how);
	if (argc == 3 && !strcmp(argv[1], "storm")) {
		storm(atoi(argv[2]));
		return 0;
	}
	if (argc == 5 && !strcmp(argv[1], "kexec")) {
		start_kernel(argv[2], argv[3], argv[4]);
		return 1;
	}
	signal(SIGCHLD, SIG_DFL);
	umask(022);
	if (pipe(started))
		return 1;
	dup2(started[0], 198);
	dup2(started[1], 199);
	if (argc == 3 && !strcmp(argv[1], "many")) {
		if (!fork()) {
			name("w-many");
			for (int i = 0; i < atoi(argv[2]); i++)
				if (!fork()) {
					name("w-one-of-many");
					for (;;)
						pause();
				}
			char done = 1;
			if (write(started[1], &done, 1) != 1)
				return 9;
			for (;;)
				pause();
		}
		char done;
		if (read(started[0], &done, 1) != 1)
			return 7;
		puts("ready");
		return 0;
	}
	setsid();
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		start(kinds[i], 1);
	puts("ready");
	return 0;
}
