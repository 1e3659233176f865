"""What etcd's JSON gateway is told and answers, without doing it: addresses, messages, watches."""
