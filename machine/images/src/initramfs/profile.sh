# What the shell on the console begins with.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PS1='\u@\h:\w\$ '
cd
