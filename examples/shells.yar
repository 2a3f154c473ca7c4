// Which processes have a shell in their memory: a rule to start from.
rule busybox_shell
{
    meta:
        description = "BusyBox, which is a shell among other things"
        attack = "T1059.004"
    strings:
        $banner = /BusyBox v[0-9]+\.[0-9]+\.[0-9]+/
    condition:
        $banner
}
