/* Waits inside a module: opens a tun device of its own, brings it up, and reads from it until it is killed. */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
	static char packet[2048];
	struct ifreq request;
	int tun = open("/dev/net/tun", O_RDWR), control = socket(AF_INET, SOCK_DGRAM, 0);

	memset(&request, 0, sizeof(request));
	strcpy(request.ifr_name, "t0");
	request.ifr_flags = IFF_TUN;
	if (ioctl(tun, TUNSETIFF, &request))
		return 1;
	request.ifr_flags = IFF_UP;
	if (ioctl(control, SIOCSIFFLAGS, &request))
		return 2;
	while (read(tun, packet, sizeof(packet)) > 0)
		;
	return 3;
}
