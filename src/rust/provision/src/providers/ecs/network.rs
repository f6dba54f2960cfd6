//! The network of a cluster, and who may enter it.
//!
//! Each thing is the one that is named, or the one that carries our tag, or is made; whatever a call
//! that broke off had made, the next one finds.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use rustbatch_protocol::ClusterId;

use super::Fargate;
use super::refused;
use super::tags::{CLUSTER, KEPT, OWNER, Tags, kept, name};
use crate::Error;
use crate::aws::{Service, Trouble, Xml};
use crate::spec::ecs::{Keep, Way};

/// The port of the server.
pub(super) const PORT: u16 = 6379;

/// The addresses of a network of ours, and of its subnets, each in a zone of its own: where one has no
/// room for a task, another one may.
const NETWORK: &str = "10.0.0.0/16";
const SUBNETS: [&str; 3] = ["10.0.0.0/20", "10.0.16.0/20", "10.0.32.0/20"];

/// Zones that have no Fargate, by their ids (Amazon ECS developer guide, "Supported Regions for Amazon
/// ECS on AWS Fargate").
const WITHOUT: [&str; 2] = ["apne1-az3", "usw1-az2"];

/// How many subnets RunTask takes.
const MOST: usize = 16;

/// Where tasks run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    pub vpc: String,
    pub subnets: Vec<String>,
}

/// What has just been made may be unknown for a moment.
fn soon(trouble: Trouble) -> Error {
    if trouble.code.ends_with(".NotFound") {
        return Error::Busy { what: format!("call {}", trouble.action), reason: trouble.message };
    }
    trouble.into()
}

/// Of several things with one tag, always the same one.
fn first(xml: &Xml, list: &str, id: &str) -> Option<String> {
    let mut ids: Vec<_> = xml.items(list).iter().map(|item| item.text(id).to_owned()).collect();
    ids.sort();
    ids.into_iter().next()
}

impl Fargate {
    /// A call of EC2 that names what it wants by filters: `(name, value)`.
    pub(super) async fn described(
        &self,
        call: &str,
        filters: &[(&str, &str)],
    ) -> Result<Xml, Trouble> {
        let mut form = Vec::new();
        for ((name, value), i) in filters.iter().zip(1..) {
            form.push((format!("Filter.{i}.Name"), (*name).to_owned()));
            form.push((format!("Filter.{i}.Value.1"), (*value).to_owned()));
        }
        self.ec2(call, &form).await
    }

    pub(super) async fn ec2(&self, call: &str, form: &[(String, String)]) -> Result<Xml, Trouble> {
        let form: Vec<_> = form.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        self.aws.query(Service::Ec2, call, &form).await
    }

    /// Makes something that is tagged from its first moment on.
    async fn made(
        &self,
        call: &str,
        kind: &str,
        tags: &Tags,
        fields: &[(&str, &str)],
    ) -> Result<Xml, Error> {
        let mut form: Vec<_> =
            fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        form.push(("TagSpecification.1.ResourceType".into(), kind.into()));
        form.extend(tags.form("TagSpecification.1.Tag"));
        self.ec2(call, &form).await.map_err(soon)
    }

    /// The filter by which the network of this cluster is known, or the one that stays.
    pub(super) async fn network_filter(
        &self,
        cluster: &ClusterId,
    ) -> Result<[(String, String); 2], Error> {
        let (key, value) = if self.ecs.keeps(Keep::Network) {
            (KEPT, kept(Keep::Network).to_owned())
        } else {
            (CLUSTER, cluster.to_string())
        };
        let owner = self.who().await?.owner.clone();
        Ok([(format!("tag:{key}"), value), (format!("tag:{OWNER}"), owner)])
    }

    /// The network: that which is named, or ours.
    pub(super) async fn network(&self, cluster: &ClusterId) -> Result<Network, Error> {
        match self.given_network().await? {
            Some(network) => Ok(network),
            None => self.own_network(cluster).await,
        }
    }

    /// The network that is named; nothing where none is.
    pub(super) async fn given_network(&self) -> Result<Option<Network>, Error> {
        let xml = match (&self.ecs.vpc, self.ecs.subnets.as_slice()) {
            (None, []) => return Ok(None),
            (Some(vpc), []) => self.described("DescribeSubnets", &[("vpc-id", vpc)]).await?,
            (_, subnets) => {
                let numbered = subnets.iter().zip(1..);
                let form: Vec<_> =
                    numbered.map(|(id, i)| (format!("SubnetId.{i}"), id.clone())).collect();
                self.ec2("DescribeSubnets", &form).await?
            }
        };
        let found = xml.items("subnetSet");
        let mut vpcs: Vec<_> = found.iter().map(|subnet| subnet.text("vpcId").to_owned()).collect();
        vpcs.sort();
        vpcs.dedup();
        let mut subnets: Vec<_> =
            found.iter().map(|subnet| subnet.text("subnetId").to_owned()).collect();
        subnets.sort();
        subnets.truncate(MOST);
        match (vpcs.as_slice(), &self.ecs.vpc) {
            ([vpc], None) => Ok(Some(Network { vpc: vpc.clone(), subnets })),
            ([vpc], Some(named)) if vpc == named => Ok(Some(Network { vpc: vpc.clone(), subnets })),
            ([], Some(named)) => Err(refused(
                &format!("the VPC {named} has no subnet in {}", self.aws.region()),
                "Name another `vpc`, another `region`, or neither: then a network is made.",
            )),
            _ => Err(refused(
                &format!("the subnets are of {}", vpcs.join(", ")),
                "Name subnets of one VPC: that in `vpc`, where one is named.",
            )),
        }
    }

    async fn own_network(&self, cluster: &ClusterId) -> Result<Network, Error> {
        let filter = self.network_filter(cluster).await?;
        let filter: Vec<_> = filter.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let owner = &self.who().await?.owner;
        let tags = match self.ecs.keeps(Keep::Network) {
            true => Tags::kept(&self.ecs, owner, Keep::Network),
            false => Tags::new(&self.ecs, owner, cluster, "network"),
        };
        let there = self.described("DescribeVpcs", &filter).await?;
        let vpc = match first(&there, "vpcSet", "vpcId") {
            Some(vpc) => vpc,
            None => {
                let made = self.made("CreateVpc", "vpc", &tags, &[("CidrBlock", NETWORK)]).await?;
                made.text("vpc/vpcId").to_owned()
            }
        };
        let names =
            [("VpcId", vpc.as_str()), ("EnableDnsHostnames.Value", "true")].map(owned).to_vec();
        self.ec2("ModifyVpcAttribute", &names).await.map_err(soon)?;
        let subnets = self.own_subnets(&vpc, &filter, &tags).await?;
        self.own_gateway(&vpc, &filter, &tags).await?;
        Ok(Network { vpc, subnets })
    }

    async fn own_subnets(
        &self,
        vpc: &str,
        filter: &[(&str, &str)],
        tags: &Tags,
    ) -> Result<Vec<String>, Error> {
        let filter = [&[("vpc-id", vpc)], filter].concat();
        let there = self.described("DescribeSubnets", &filter).await?;
        let there = there.items("subnetSet");
        let zones = [("zone-type", "availability-zone"), ("state", "available")];
        let zones = self.described("DescribeAvailabilityZones", &zones).await?;
        let mut zones: Vec<_> = zones
            .items("availabilityZoneInfo")
            .iter()
            .filter(|zone| !WITHOUT.contains(&zone.text("zoneId")))
            .map(|zone| zone.text("zoneName").to_owned())
            .collect();
        zones.sort();
        let mut subnets = Vec::new();
        for (block, zone) in SUBNETS.iter().zip(&zones) {
            let same = there.iter().find(|subnet| subnet.text("cidrBlock") == *block);
            subnets.push(match same {
                Some(subnet) => subnet.text("subnetId").to_owned(),
                None => {
                    let fields =
                        [("VpcId", vpc), ("CidrBlock", *block), ("AvailabilityZone", zone)];
                    let made = self.made("CreateSubnet", "subnet", tags, &fields).await?;
                    made.text("subnet/subnetId").to_owned()
                }
            });
        }
        Ok(subnets)
    }

    /// A gateway to the Internet, and the way to it in the table that the VPC came with.
    async fn own_gateway(
        &self,
        vpc: &str,
        filter: &[(&str, &str)],
        tags: &Tags,
    ) -> Result<(), Error> {
        let there = self.described("DescribeInternetGateways", filter).await?;
        let gateway = match first(&there, "internetGatewaySet", "internetGatewayId") {
            Some(gateway) => gateway,
            None => {
                let made =
                    self.made("CreateInternetGateway", "internet-gateway", tags, &[]).await?;
                made.text("internetGateway/internetGatewayId").to_owned()
            }
        };
        let attach = [("InternetGatewayId", gateway.as_str()), ("VpcId", vpc)].map(owned).to_vec();
        match self.ec2("AttachInternetGateway", &attach).await {
            Ok(_) => {}
            Err(error) if error.is(&["Resource.AlreadyAssociated"]) => {}
            Err(error) => return Err(soon(error)),
        }
        let main = [("vpc-id", vpc), ("association.main", "true")];
        let tables = self.described("DescribeRouteTables", &main).await?;
        let Some(table) = first(&tables, "routeTableSet", "routeTableId") else {
            let what = "find the route table of the new network".to_owned();
            return Err(Error::Busy { what, reason: "there is none yet".into() });
        };
        let route = [
            ("RouteTableId", table.as_str()),
            ("DestinationCidrBlock", "0.0.0.0/0"),
            ("GatewayId", gateway.as_str()),
        ];
        match self.ec2("CreateRoute", &route.map(owned)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is(&["RouteAlreadyExists"]) => Ok(()),
            Err(error) => Err(soon(error)),
        }
    }

    /// The security groups: those that are named, or ours, which lets in its own members and this
    /// machine, and these at the server's port alone (and at ssh's, where that is wanted).
    pub(super) async fn groups(
        &self,
        cluster: &ClusterId,
        network: &Network,
    ) -> Result<Vec<String>, Error> {
        if !self.ecs.security_groups.is_empty() {
            return Ok(self.ecs.security_groups.clone());
        }
        let there = self.own_group(cluster).await?;
        let group = match first(&there, "securityGroupInfo", "groupId") {
            Some(group) => group,
            None => {
                let name = name(cluster);
                let fields = [
                    ("GroupName", name.as_str()),
                    ("GroupDescription", "rustBatch: the server, from its workers and its client"),
                    ("VpcId", network.vpc.as_str()),
                ];
                let tags = Tags::new(&self.ecs, &self.who().await?.owner, cluster, "network");
                let made = self.made("CreateSecurityGroup", "security-group", &tags, &fields);
                made.await?.text("groupId").to_owned()
            }
        };
        self.let_in(&group, PORT, ("Groups.1.GroupId", &group)).await?;
        self.let_client_in(&group, &network.vpc).await?;
        Ok(vec![group])
    }

    /// Our group of a cluster, described.
    async fn own_group(&self, cluster: &ClusterId) -> Result<Xml, Error> {
        let owner = &self.who().await?.owner;
        let (by, whose) = (format!("tag:{CLUSTER}"), format!("tag:{OWNER}"));
        let filter = [(by.as_str(), cluster.as_str()), (whose.as_str(), owner.as_str())];
        Ok(self.described("DescribeSecurityGroups", &filter).await?)
    }

    /// Lets this machine in to a cluster that maybe another one has made, or this one elsewhere. Says
    /// what to look at where it can't get in all the same.
    pub(super) async fn welcome(&self, cluster: &ClusterId) -> Result<String, Error> {
        if !self.ecs.security_groups.is_empty() {
            let groups = self.ecs.security_groups.join(", ");
            return Ok(format!("See that {groups} let this machine in at port {PORT}."));
        }
        let there = self.own_group(cluster).await?;
        let mut doors = Vec::new();
        for group in there.items("securityGroupInfo") {
            let id = group.text("groupId");
            let client = self.let_client_in(id, group.text("vpcId")).await?;
            doors.push(format!("{id} lets in {client}"));
        }
        Ok(format!(
            "The security group {} at port {PORT}. Where this machine comes from another address, name \
             that: `ecsCluster(clientAddress = )`.",
            doors.join(", ")
        ))
    }

    /// Returns who was let in.
    async fn let_client_in(&self, group: &str, vpc: &str) -> Result<String, Error> {
        let client = self.client_network(vpc).await?;
        self.let_in(group, PORT, ("IpRanges.1.CidrIp", &client)).await?;
        if self.ecs.ssh_public_key.is_some() {
            self.let_in(group, 22, ("IpRanges.1.CidrIp", &client)).await?;
        }
        Ok(client)
    }

    async fn let_in(&self, group: &str, port: u16, from: (&str, &str)) -> Result<(), Error> {
        let (port, field) = (port.to_string(), format!("IpPermissions.1.{}", from.0));
        let rule = [
            ("GroupId", group),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", &port),
            ("IpPermissions.1.ToPort", &port),
            (&field, from.1),
        ];
        match self.ec2("AuthorizeSecurityGroupIngress", &rule.map(owned)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is(&["InvalidPermission.Duplicate"]) => Ok(()),
            Err(error) => Err(soon(error)),
        }
    }

    /// The addresses of the client: those that are named, or this machine's one.
    async fn client_network(&self, vpc: &str) -> Result<String, Error> {
        if let Some(named) = &self.ecs.client_address {
            return Ok(named.clone());
        }
        let own: IpAddr = match self.ecs.reach {
            Way::Public => self.aws.public_address().await.map_err(unknown)?.into(),
            Way::Private => {
                let subnets = self.described("DescribeSubnets", &[("vpc-id", vpc)]).await?;
                let subnets = subnets.items("subnetSet");
                let block = subnets.first().map_or("", |subnet| subnet.text("cidrBlock"));
                towards(block).map_err(unknown)?
            }
        };
        Ok(format!("{own}/32"))
    }
}

/// By which address this machine would speak to a network. Sends nothing.
fn towards(block: &str) -> Result<IpAddr, String> {
    let host = block.split('/').next().unwrap_or_default();
    let host: Ipv4Addr = host.parse().map_err(|_| format!("`{block}` is no network"))?;
    let ask = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((host, 9))?;
        socket.local_addr()
    };
    ask().map(|address| address.ip()).map_err(|e: std::io::Error| e.to_string())
}

fn unknown(reason: impl std::fmt::Display) -> Error {
    refused(
        &format!("the address of this machine, which is to be let in, is not known: {reason}"),
        "Name it: `ecsCluster(clientAddress = \"203.0.113.7/32\")`.",
    )
}

pub(super) fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_towards_a_network_is_this_machines() {
        assert_eq!(towards("127.0.0.0/8"), Ok(IpAddr::from(Ipv4Addr::LOCALHOST)));
        assert!(towards("").is_err() && towards("::/0").is_err());
    }

    #[test]
    fn what_was_made_just_now_may_be_unknown_for_a_moment() {
        let of = |code: &str| {
            let (action, message) = ("ec2:X".to_owned(), String::new());
            soon(Trouble { action, code: code.into(), message, passing: false })
        };
        assert!(matches!(of("InvalidVpcID.NotFound"), Error::Busy { .. }));
        assert!(matches!(of("VpcLimitExceeded"), Error::Refused { .. }));
    }
}
