/* Waits inside a module: opens a tun device of its own, brings it up, and reads from it until it is killed.
 * Without a C library, so that it is small enough to be carried into a guest in a line of shell. */
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/ioctl.h>
#include <linux/sockios.h>
#include <sys/syscall.h>

static long call(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

void _start(void)
{
	static struct ifreq request = { .ifr_name = "t0" };
	static char packet[2048];
	long tun = call(SYS_open, (long)"/dev/net/tun", 2, 0);
	long sock = call(SYS_socket, 2, 2, 0);

	request.ifr_flags = IFF_TUN;
	call(SYS_ioctl, tun, TUNSETIFF, (long)&request);
	request.ifr_flags = IFF_UP;
	call(SYS_ioctl, sock, SIOCSIFFLAGS, (long)&request);
	while (call(SYS_read, tun, (long)packet, sizeof(packet)) > 0)
		;
	call(SYS_exit, 1, 0, 0);
}
