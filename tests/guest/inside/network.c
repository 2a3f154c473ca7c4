/* Runs inside the guest: sockets of every kind, in the first network namespace and in one of its own.
 *
 * `network routes DEVICE` adds what busybox can't: routes of several ways, nexthop objects (ids 7 and 8, group 9) and routes
 * through them. `network` makes the sockets, prints "ready PID-HERE PID-IN-THE-OTHER-NAMESPACE" and leaves two processes that hold them until
 * they are killed. Nothing here attacks anything: the sockets only exist.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int must(int value, const char *what)
{
	if (value < 0) {
		perror(what);
		exit(9);
	}
	return value;
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	if (fd >= 0) {
		if (write(fd, text, strlen(text)) < 0)
			perror(path);
		close(fd);
	}
}

static struct sockaddr_in at(int port)
{
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	return four;
}

static int bound(int kind, int port)
{
	struct sockaddr_in four = at(port);
	int on = 1, fd = must(socket(AF_INET, kind, 0), "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	must(bind(fd, (void *)&four, sizeof(four)), "bind");
	return fd;
}

static int connected(int kind, int port)
{
	struct sockaddr_in four = at(port);
	int fd = must(socket(AF_INET, kind, 0), "socket");
	must(connect(fd, (void *)&four, sizeof(four)), "connect");
	return fd;
}

static void say(int fd, int bytes)
{
	char data[1000] = {0};
	must(send(fd, data, bytes, 0), "send");
}

static void tcp(void)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(7002), .sin6_addr = in6addr_any};
	int on = 1, seconds = 60, one, other, server = bound(SOCK_STREAM, 7001);
	must(listen(server, 7), "listen");
	one = connected(SOCK_STREAM, 7001);
	other = must(accept(server, NULL, NULL), "accept");
	say(one, 321);
	say(other, 5);
	/* Two that nobody accepts. */
	connected(SOCK_STREAM, 7001);
	connected(SOCK_STREAM, 7001);
	/* One that is over: who closes first keeps a TIME_WAIT. */
	one = connected(SOCK_STREAM, 7001);
	server = bound(SOCK_STREAM, 7003);
	must(listen(server, 7), "listen");
	one = connected(SOCK_STREAM, 7003);
	other = must(accept(server, NULL, NULL), "accept");
	close(one);
	usleep(50000);
	close(other);
	/* One half closed, one whose process is gone from it. */
	one = connected(SOCK_STREAM, 7003);
	other = must(accept(server, NULL, NULL), "accept");
	shutdown(one, SHUT_WR);
	/* One that stays a request, because no data comes: NEW_SYN_RECV. */
	server = bound(SOCK_STREAM, 7004);
	setsockopt(server, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds));
	must(listen(server, 7), "listen");
	connected(SOCK_STREAM, 7004);
	/* IPv6, with IPv4 through it. */
	server = must(socket(AF_INET6, SOCK_STREAM, 0), "socket 6");
	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	must(bind(server, (void *)&six, sizeof(six)), "bind 6");
	must(listen(server, 3), "listen 6");
	connected(SOCK_STREAM, 7002);
	must(accept(server, NULL, NULL), "accept 6");
	six.sin6_addr = in6addr_loopback;
	one = must(socket(AF_INET6, SOCK_STREAM, 0), "socket 6");
	must(connect(one, (void *)&six, sizeof(six)), "connect 6");
	must(accept(server, NULL, NULL), "accept 6");
}

static void udp(void)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(7102), .sin6_addr = in6addr_loopback};
	int fd = bound(SOCK_DGRAM, 7101);
	fd = connected(SOCK_DGRAM, 7101);
	say(fd, 100);
	say(fd, 200);
	fd = must(socket(AF_INET6, SOCK_DGRAM, 0), "socket 6");
	must(bind(fd, (void *)&six, sizeof(six)), "bind 6");
	fd = must(socket(AF_INET, SOCK_DGRAM, 0), "socket");
	must(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), "device");
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(7103)};
	must(bind(fd, (void *)&any, sizeof(any)), "bind");
	fchown(fd, 1000, 1000);
	/* Not on every kernel. */
	fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE);
	if (fd >= 0) {
		any.sin_port = htons(7104);
		must(bind(fd, (void *)&any, sizeof(any)), "bind");
	}
}

static void raw(void)
{
	write_text("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
	struct sockaddr_in four = at(77);
	int fd = must(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP), "ping");
	must(bind(fd, (void *)&four, sizeof(four)), "bind");
	must(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), "raw");
	must(socket(AF_INET, SOCK_RAW, 253), "raw");
	must(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6), "raw 6");
	struct sockaddr_ll link = {.sll_family = AF_PACKET, .sll_protocol = htons(0x88b5), .sll_ifindex = if_nametoindex("lo")};
	fd = must(socket(AF_PACKET, SOCK_RAW, htons(0x88b5)), "packet");
	must(bind(fd, (void *)&link, sizeof(link)), "bind");
	must(socket(AF_PACKET, SOCK_DGRAM, htons(0x806)), "packet");
	must(socket(AF_PACKET, SOCK_RAW, 0), "packet");
	struct sockaddr_nl port = {.nl_family = AF_NETLINK, .nl_groups = 1};
	fd = must(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT), "netlink");
	must(bind(fd, (void *)&port, sizeof(port)), "bind");
	port.nl_pid = 77000;
	fd = must(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), "netlink");
	must(bind(fd, (void *)&port, sizeof(port)), "bind");
}

static void local(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int ends[2], fd = must(socket(AF_UNIX, SOCK_STREAM, 0), "unix");
	strcpy(address.sun_path, path);
	unlink(path);
	must(bind(fd, (void *)&address, sizeof(address)), "bind");
	must(listen(fd, 5), "listen");
	must(connect(must(socket(AF_UNIX, SOCK_STREAM, 0), "unix"), (void *)&address, sizeof(address)), "connect");
	must(accept(fd, NULL, NULL), "accept");
	/* One that nobody accepts. */
	must(connect(must(socket(AF_UNIX, SOCK_STREAM, 0), "unix"), (void *)&address, sizeof(address)), "connect");
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), "pair");
	say(ends[0], 10);
	say(ends[0], 20);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "pair");
	say(ends[0], 123);
	say(ends[0], 100);
	char data[23];
	must(read(ends[1], data, sizeof(data)), "read");
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), "pair");
	must(socket(AF_UNIX, SOCK_DGRAM, 0), "unix");
}

/* A listening socket that is on its way in a message that nobody reads: no process holds it. */
static void on_its_way(int port)
{
	int ends[2], fd = bound(SOCK_STREAM, port);
	must(listen(fd, 1), "listen");
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), "pair");
	char byte = 0, space[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
	struct cmsghdr *control = CMSG_FIRSTHDR(&message);
	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(control), &fd, sizeof(fd));
	must(sendmsg(ends[0], &message, 0), "sendmsg");
	close(fd);
}

static void all(const char *path)
{
	tcp();
	udp();
	raw();
	local(path);
	on_its_way(7009);
}

static void stay(int done)
{
	char byte = 1;
	if (write(done, &byte, 1) != 1)
		exit(8);
	close(done);
	close(0);
	close(1);
	close(2);
	for (;;)
		pause();
}

static pid_t start(int apart)
{
	int ready[2];
	char byte;
	must(pipe(ready), "pipe");
	pid_t child = must(fork(), "fork");
	if (!child) {
		setsid();
		prctl(PR_SET_NAME, apart ? "w-net-apart" : "w-net");
		if (apart) {
			struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
			must(unshare(CLONE_NEWNET), "unshare");
			must(ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &request), "lo");
			usleep(100000);
		}
		all(apart ? "/tmp/w-net-apart.sock" : "/tmp/w-net.sock");
		stay(ready[1]);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		exit(7);
	return child;
}

/* Requests to rtnetlink, a few attributes each. */
static struct {
	struct nlmsghdr head;
	char body[1000];
} request;

static void *begin(int type, int size, const void *fixed)
{
	memset(&request, 0, sizeof(request));
	request.head.nlmsg_type = type;
	request.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
	request.head.nlmsg_len = NLMSG_LENGTH(size);
	memcpy(NLMSG_DATA(&request.head), fixed, size);
	return NLMSG_DATA(&request.head);
}

static struct rtattr *attribute(int type, const void *data, int size)
{
	struct rtattr *made = (void *)((char *)&request + NLMSG_ALIGN(request.head.nlmsg_len));
	made->rta_type = type;
	made->rta_len = RTA_LENGTH(size);
	memcpy(RTA_DATA(made), data, size);
	request.head.nlmsg_len = NLMSG_ALIGN(request.head.nlmsg_len) + RTA_ALIGN(made->rta_len);
	return made;
}

static void finish(const char *what)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char more[2000];
	} answer;
	int fd = must(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), "netlink");
	must(send(fd, &request, request.head.nlmsg_len, 0), what);
	must(recv(fd, &answer, sizeof(answer), 0), what);
	if (answer.error.error) {
		fprintf(stderr, "%s: %s\n", what, strerror(-answer.error.error));
		exit(9);
	}
	close(fd);
}

static void route(int family, const char *to, int length, int nexthop, const char *const *gateways, int device)
{
	unsigned char address[16], *at, ways[200] = {0};
	int size = family == AF_INET ? 4 : 16;
	struct rtmsg message = {.rtm_family = family, .rtm_dst_len = length, .rtm_table = RT_TABLE_MAIN,
				.rtm_protocol = RTPROT_STATIC, .rtm_type = RTN_UNICAST};
	begin(RTM_NEWROUTE, sizeof(message), &message);
	inet_pton(family, to, address);
	attribute(RTA_DST, address, size);
	if (nexthop) {
		attribute(RTA_NH_ID, &nexthop, 4);
	} else {
		at = ways;
		for (int way = 0; gateways[way]; way++) {
			struct rtnexthop *hop = (void *)at;
			struct rtattr *gateway = RTNH_DATA(hop);
			hop->rtnh_ifindex = device;
			hop->rtnh_hops = way * 2;
			hop->rtnh_len = sizeof(*hop) + RTA_LENGTH(size);
			gateway->rta_type = RTA_GATEWAY;
			gateway->rta_len = RTA_LENGTH(size);
			inet_pton(family, gateways[way], RTA_DATA(gateway));
			at += RTNH_ALIGN(hop->rtnh_len);
		}
		attribute(RTA_MULTIPATH, ways, at - ways);
	}
	finish(to);
}

static void nexthop(int family, int id, const char *gateway, int device, const int *members, int count)
{
	unsigned char address[16];
	struct nhmsg message = {.nh_family = family, .nh_protocol = RTPROT_STATIC};
	struct nexthop_grp group[4] = {{0}};
	begin(RTM_NEWNEXTHOP, sizeof(message), &message);
	attribute(NHA_ID, &id, 4);
	if (count) {
		for (int at = 0; at < count; at++)
			group[at].id = members[at];
		attribute(NHA_GROUP, group, count * sizeof(*group));
	} else {
		inet_pton(family, gateway, address);
		attribute(NHA_OIF, &device, 4);
		attribute(NHA_GATEWAY, address, family == AF_INET ? 4 : 16);
	}
	finish("nexthop");
}

static void routes(const char *name)
{
	static const char *const four[] = {"10.1.2.8", "10.1.2.9", NULL}, *const six[] = {"fd00::8", "fd00::9", NULL};
	int device = must(if_nametoindex(name), name) ?: (fprintf(stderr, "no %s\n", name), exit(9), 0);
	int members[] = {7, 8}, more[] = {17, 18};
	route(AF_INET, "10.99.0.0", 20, 0, four, device);
	route(AF_INET6, "fd99::", 32, 0, six, device);
	nexthop(AF_INET, 7, "10.1.2.7", device, NULL, 0);
	nexthop(AF_INET, 8, "10.1.2.8", device, NULL, 0);
	nexthop(AF_UNSPEC, 9, NULL, 0, members, 2);
	nexthop(AF_INET6, 17, "fd00::7", device, NULL, 0);
	nexthop(AF_INET6, 18, "fd00::8", device, NULL, 0);
	nexthop(AF_UNSPEC, 19, NULL, 0, more, 2);
	route(AF_INET, "10.107.0.0", 16, 7, NULL, 0);
	route(AF_INET, "10.109.0.0", 16, 9, NULL, 0);
	route(AF_INET6, "fd17::", 32, 17, NULL, 0);
	route(AF_INET6, "fd19::", 32, 19, NULL, 0);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "routes")) {
		routes(argv[2]);
		return 0;
	}
	/* Where the kernel can: tables of its own for the namespace that comes. */
	write_text("/proc/sys/net/ipv4/tcp_child_ehash_entries", "1024");
	write_text("/proc/sys/net/ipv4/udp_child_hash_entries", "256");
	pid_t here = start(0), apart = start(1);
	write_text("/proc/sys/net/ipv4/tcp_child_ehash_entries", "0");
	write_text("/proc/sys/net/ipv4/udp_child_hash_entries", "0");
	printf("ready %d %d\n", here, apart);
	return 0;
}
