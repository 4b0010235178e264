/*
 * Opening and closing a network as the --net option describes it.
 */
#include "net/internal.h"

#include <stdlib.h>

struct net {
    struct net_user *user;
    struct net_capture *capture; /* may be NULL */
};

struct net *net_open(const struct net_options *options, struct loop *loop, struct clock *clock,
                     struct packet_port *port, struct error *error)
{
    struct net *net = calloc(1, sizeof *net);
    if (!net) {
        error_set(error, "Out of memory");
        return NULL;
    }
    net->user = net_user_new(loop, clock, port, &options->user, error);
    if (!net->user) {
        free(net);
        return NULL;
    }
    if (options->capture[0]) {
        net->capture = net_capture_new(port, clock, options->capture, error);
        if (!net->capture) {
            net_close(net);
            return NULL;
        }
    }
    return net;
}

void net_close(struct net *net)
{
    if (!net)
        return;
    net_capture_free(net->capture);
    net_user_free(net->user);
    free(net);
}
